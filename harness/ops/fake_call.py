"""Calling an op's fake implementation with the arguments of a real call."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.base.source import SourceLine
from harness.ops.arguments import Metas, Plain, declared_writes, metas, not_written, plain, undeclared_aliases
from harness.ops.registry import registered
from harness.ops.signatures import signature_mismatch


class FakeCallMode(FakeTensorMode):
    """A FakeTensorMode that records which tensors are written inside it: below autograd no version counter does."""

    def __init__(self) -> None:
        super().__init__()
        # Each tensor that an op made, and the innermost op's line, where it is asked. Tensors are known by their id while they live.
        self.lines: dict[int, tuple[Tensor, SourceLine | None]] | None = None
        self.cache_enabled = False  # else the second call would return the first one's result from the cache
        self.written: set[int] = set()

    def fake(self, tensor: Tensor, device: torch.device | None = None) -> Tensor:
        """The fake of a tensor, on ``device`` if one is given.

        ``from_tensor`` takes 80 us, 400 us for a view; a plain tensor takes 12 us this way.
        """
        if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.is_conj() or tensor.is_neg():
            return self.from_tensor(tensor, static_shapes=True)
        return FakeTensor(self, _meta(tensor), device or tensor.device)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.written |= {id(tensor) for tensor in declared_writes(func, args, kwargs or {})}
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if self.lines is not None:
            for leaf in (leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)):
                self.lines.setdefault(id(leaf), (leaf, SourceLine.here()))
        return out


def _meta(tensor: Tensor) -> Tensor:
    if not tensor.storage_offset():
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
    elements = tensor.untyped_storage().nbytes() // tensor.element_size()
    memory = torch.empty(elements, dtype=tensor.dtype, device="meta")
    return memory.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())


@dataclass(slots=True)
class FakeCall:
    """What an op's fake implementation returned for the arguments of one real call.

    ``outputs`` is None where the fake raised ``error``. ``second_outputs`` is what it returned when it was called with
    the same arguments again. ``aliases`` names arguments whose memory the fake returns, ``writes`` those that it writes
    to, although the schema declares neither. ``signature_mismatch`` says how a Python signature differs from the schema.
    ``plain`` holds the outputs that are no tensors. ``on_cuda`` says what is wrong with the answer for fake CUDA tensors, and
    ``as_on_cuda`` holds that answer where the op's implementation is the same for both devices. ``without_grad`` is what the
    fake returns outside grad mode, where the call was made in it. ``before_real`` is what it returned before the real call, where
    that is something else than after it, and than it returns from then on. ``lines`` are those of the fake's own code that make
    the outputs, where these are not what the real call gave.
    """

    outputs: Metas | None = None
    second_outputs: Metas | None = None
    error: BaseException | None = None
    aliases: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    signature_mismatch: str = ""
    plain: Plain = ()
    on_cuda: str = ""
    as_on_cuda: Metas | None = None
    without_grad: Metas | None = None
    before_real: Metas | None = None
    lines: tuple[SourceLine | None, ...] = ()


def _fakes_of(mode: FakeCallMode, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Fakes of the arguments, which require grad as these do in grad mode; not for an op that writes: a leaf takes no write."""
    fakes: tuple[Any, Any] = tree_map_only(Tensor, mode.fake, (args, kwargs))
    if torch.is_grad_enabled() and not func._schema.is_mutable:
        for fake, tensor in zip(tree_leaves(fakes), tree_leaves((args, kwargs)), strict=True):
            if isinstance(tensor, Tensor) and tensor.requires_grad and not fake.requires_grad:
                fake.requires_grad_()
    return fakes


def answer_of_fake(mode: FakeCallMode, func: Any, args: Any, kwargs: Any) -> Metas | None:
    """What the fake implementation returns for these arguments; None where it raises."""
    try:
        fake_args, fake_kwargs = _fakes_of(mode, func, args, kwargs)
        with mode:
            return metas(func(*fake_args, **fake_kwargs))
    except Exception:  # call_fake reports it
        return None


def lines_of_fake(mode: FakeCallMode, func: Any, args: Any, kwargs: Any) -> tuple[SourceLine | None, ...]:
    """The fake's own line that makes each output, None where it is an argument or no user's code; empty where the fake raises."""
    caller = SourceLine.here()
    mode.lines = {}
    try:
        fake_args, fake_kwargs = _fakes_of(mode, func, args, kwargs)
        with mode:
            outputs = tree_leaves(func(*fake_args, **fake_kwargs))
        lines = [mode.lines.get(id(leaf), (None, None))[1] for leaf in outputs]
        return tuple(None if line == caller else line for line in lines)
    except Exception:  # call_fake reports it
        return ()
    finally:
        mode.lines = None


def call_fake(
    mode: FakeCallMode, func: Any, args: Any, kwargs: Any, cuda: bool = False, before: Metas | None = None
) -> FakeCall:
    """Call the fake implementation with fakes of the arguments as they are now, in the real call's grad mode.

    ``before`` is what it returned before the real call. Where that is something else, or not known, it is called twice.
    ``cuda`` calls it with fake CUDA tensors too, which need no CUDA device.
    """
    call = FakeCall(signature_mismatch=signature_mismatch(func))
    try:
        fake_args, fake_kwargs = _fakes_of(mode, func, args, kwargs)
        with mode:
            mode.written.clear()
            out = func(*fake_args, **fake_kwargs)
            call.writes = tuple(
                name for name, leaf in not_written(func, fake_args, fake_kwargs) if id(leaf) in mode.written
            )
            call.outputs = call.second_outputs = metas(out)
            # Twice, because a fake must be a pure function of its arguments: one that counts its calls or draws random
            # sizes gives another result the second time, and one that reads what a real call wrote gives another one after it.
            if before != call.outputs:
                call.second_outputs = metas(func(*fake_args, **fake_kwargs))
                call.before_real = before if call.second_outputs == call.outputs else None
            call.plain = plain(out)
            if torch.is_grad_enabled():
                with torch.no_grad():
                    call.without_grad = metas(func(*fake_args, **fake_kwargs))
        call.aliases = undeclared_aliases(func, fake_args, fake_kwargs, out)
    except Exception as error:  # a fake may raise anything, and the contract observer reports it
        call.error = error
    if cuda and call.error is None and runs_on_cuda(func):
        call.on_cuda, call.as_on_cuda = _cuda_answer(mode, func, args, kwargs)
    return call


_CUDA = torch.device("cuda:0")
# Either key makes an op callable on CUDA tensors.
_CUDA_KEYS = ("CUDA", "CompositeExplicitAutograd")


@cache
def runs_on_cuda(func: Any) -> bool:
    """Whether an op has an implementation for CUDA tensors."""
    return any(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key) for key in _CUDA_KEYS)


@cache
def _is_one_implementation(func: Any) -> bool:
    """Whether CPU and CUDA tensors reach the same implementation. Where each has its own, their outputs may differ by right."""
    name = func.name().partition(".")[0]
    if name in (ops := registered()):
        return ops[name].reals.get("cpu") is ops[name].reals.get("cuda")
    return not any(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key) for key in ("CPU", "CUDA"))


def _cuda_answer(mode: FakeCallMode, func: Any, args: Any, kwargs: Any) -> tuple[str, Metas | None]:
    """(what is wrong with the fake's answer for CUDA tensors, the answer where it must be the same as for CPU tensors).

    Only CPU arguments are moved.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if any(tensor.device.type != "cpu" for tensor in tensors):
        return "", None
    moved = tree_map_only(Tensor, lambda tensor: mode.fake(tensor, _CUDA), (args, kwargs))
    if not torch.cuda.is_available() and hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
        torch._C._ensureCUDADeviceGuardSet()  # else a view of a fake CUDA tensor raises in a build without CUDA
    try:
        with mode:
            out = func(*moved[0], **moved[1])
    except Exception:  # it may be this machine that cannot
        return "", None
    # A count or a table may be meant for the host; an activation is not.
    floats = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    wrong = next((leaf for leaf in floats if leaf.device.type != "cuda"), None)
    answer = metas(out) if _is_one_implementation(func) else None
    return f"returns a tensor on {wrong.device.type}" if wrong is not None else "", answer
