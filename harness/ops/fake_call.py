"""Calling an op's fake implementation with the arguments of a real call."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_map_only

from harness.ops.arguments import Metas, metas, silent, undeclared_aliases, written
from harness.ops.signatures import misfit


class FakeCallMode(FakeTensorMode):
    """A mode to call fakes in, which notes what is written to inside it: below autograd no version counter tells."""

    def __init__(self) -> None:
        super().__init__()
        self.cache_enabled = False  # a second answer must be its own
        self.written: set[int] = set()

    def fake(self, tensor: Tensor) -> Tensor:
        """The fake of a tensor. ``from_tensor`` takes 80 us, and 400 for a view; a plain tensor is made in 12."""
        if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.is_conj() or tensor.is_neg():
            return self.from_tensor(tensor, static_shapes=True)
        return FakeTensor(self, _meta(tensor), tensor.device)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.written |= {id(tensor) for tensor in written(func, args, kwargs or {})}
        return super().__torch_dispatch__(func, types, args, kwargs)


def _meta(tensor: Tensor) -> Tensor:
    if not tensor.storage_offset():
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
    elements = tensor.untyped_storage().nbytes() // tensor.element_size()
    memory = torch.empty(elements, dtype=tensor.dtype, device="meta")
    return memory.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())


@dataclass(slots=True)
class FakeCall:
    """What an op's fake implementation gave for the arguments of one real call.

    ``outputs`` is None where the fake raised ``error``. ``second_outputs`` is its answer to the same question, asked
    once more: a fake that counts its calls or draws random sizes gives itself away. ``aliases`` and ``writes`` name
    arguments whose memory the fake returns, or writes to, although the schema does not say so. ``signature_mismatch``
    says how the Python signatures differ from the schema.
    """

    outputs: Metas | None = None
    second_outputs: Metas | None = None
    error: BaseException | None = None
    aliases: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    signature_mismatch: str = ""


def call_fake(mode: FakeCallMode, func: Any, args: Any, kwargs: Any) -> FakeCall:
    """Call the fake implementation twice, with fakes of the arguments as they are now."""
    answer = FakeCall(signature_mismatch=misfit(func))
    try:
        faked = tree_map_only(Tensor, mode.fake, (args, kwargs))
        with mode, torch.no_grad():
            mode.written.clear()
            out = func(*faked[0], **faked[1])
            answer.writes = tuple(name for name, leaf in silent(func, *faked) if id(leaf) in mode.written)
            # Twice: a fake must be a pure function of its arguments, and one that is not differs from itself.
            answer.outputs, answer.second_outputs = metas(out), metas(func(*faked[0], **faked[1]))
        answer.aliases = undeclared_aliases(func, faked[0], faked[1], out)
    except Exception as error:  # a fake may raise anything; that is what we look for
        answer.error = error
    return answer
