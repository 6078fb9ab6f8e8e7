"""Asking a fake implementation what it gives for the arguments of a real call."""

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_map_only

from harness.arguments import metas, silent, undeclared_aliases, written
from harness.evidence import Record
from harness.signatures import misfit


class Asking(FakeTensorMode):
    """A mode to ask fakes in, which notes what is written to inside it: below autograd no version counter tells."""

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


def ask_fake(record: Record, mode: Asking, func: Any, args: Any, kwargs: Any) -> None:
    """What the fake implementation gives, twice, for the arguments as they are now."""
    record.misfit = misfit(func)
    try:
        faked = tree_map_only(Tensor, mode.fake, (args, kwargs))
        with mode, torch.no_grad():
            mode.written.clear()
            out = func(*faked[0], **faked[1])
            record.fake_writes = tuple(name for name, leaf in silent(func, *faked) if id(leaf) in mode.written)
            record.fake, record.fake_again = metas(out), metas(func(*faked[0], **faked[1]))
        record.fake_aliases = undeclared_aliases(func, faked[0], faked[1], out)
    except Exception as error:  # a fake may raise anything; that is what we look for
        record.fake_error = error
