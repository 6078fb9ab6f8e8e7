"""An emulation of CUDA graph capture for machines without CUDA: the dispatched ops are recorded once and replayed.

Like a capture it records kernels and not Python: what the host did once is not done again, buffers keep their
addresses, and what a capture refuses (a host sync, a data-dependent shape, a copy to the host) is refused. It looks
into custom ops, so that what their implementations allocate or read is recorded too. Memory that it reads from outside
is not kept alive by it. It is no test of CUDA kernels.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from harness.base.source import SourceLine
from harness.execution.external_memory import Borrowed, Noting, Outside, tensors_in

# What moves data between host and device without a dispatched op when both are a CPU.
_HOST_READS = {"cpu": ".cpu()", "numpy": ".numpy()", "tolist": ".tolist()", "__array__": "numpy.asarray()"}
_HOST_WRITES = {name: f"torch.{name}()" for name in ("tensor", "as_tensor", "asarray", "from_numpy")}
# What torch.Tensor([...]), torch.FloatTensor([...]) and the like dispatch once their memory is filled.
_FROM_HOST = ("aten::lift_fresh", "aten::lift")
_DATA_TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class CaptureRefused(RuntimeError):
    """What a real capture would refuse. ``line`` is the user's line."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.line = SourceLine.here()


class NotCaptured(RuntimeError):
    """A compiled layer ran, and no CUDA graph of it was replayed."""


def _refuse(what: str) -> Callable[..., Any]:
    def refused(*args: Any, **kwargs: Any) -> Any:
        raise CaptureRefused(what)

    return refused


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if "cpu" in [target for target in (*args, *kwargs.values()) if isinstance(target, str)]:
        raise CaptureRefused('.to("cpu") in a capture copies to the host')
    return torch._C.TensorBase.to(tensor, *args, **kwargs)


@contextmanager
def _host_guard() -> Iterator[None]:
    """Refuse what moves data between host and device. A function mode would not reach into custom ops; these patches do."""
    reads = {name: _refuse(f"{shown} in a capture waits for the device") for name, shown in _HOST_READS.items()}
    reads["new_tensor"] = _refuse(".new_tensor() in a capture copies from the host")
    writes = {name: _refuse(f"{shown} in a capture copies from the host") for name, shown in _HOST_WRITES.items()}
    with ExitStack() as stack:
        for owner, patches in ((Tensor, reads | {"to": _to}), (torch, writes)):
            for name, function in patches.items():
                stack.enter_context(mock.patch.object(owner, name, function))
        yield


class OpGraph(Noting):
    """The dispatched ops of one call, with the very tensors they read and wrote; those from outside are borrowed."""

    def __init__(self) -> None:
        super().__init__(Outside("cpu"))
        self._steps: list[Callable[[], None]] = []

    def capture(self, function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Any:
        """Run ``function`` once and record. Raises CaptureRefused."""
        with _host_guard(), self:
            return function(*inputs)

    def replay(self) -> None:
        """Run the recorded ops again on the same buffers. Raises FreedMemory."""
        self.outside.check()
        for step in self._steps:
            step()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in _FROM_HOST:  # ``x[0] = 1`` makes a scalar, which a kernel is passed
            if args[0].dim():
                raise CaptureRefused("a tensor made of numbers in a capture copies from the host")
            self.outside.made(args)
        if _depends_on_data(func) and not _by_numbers(func, args):
            raise CaptureRefused(f"{func._schema.name} in a capture depends on the data")
        return super().__torch_dispatch__(func, types, args, kwargs)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an op that is a kernel, and record it."""
        out = func(*args, **kwargs)
        self._steps.append(_step(func, args, kwargs, out, self.outside))
        return out


def _by_numbers(func: Any, args: Any) -> bool:
    """Whether this is ``x[indices]`` without a mask: tagged as dynamic, but its shape depends on no data."""
    masks = (torch.bool, torch.uint8)
    return func is torch.ops.aten.index.Tensor and all(i is None or i.dtype not in masks for i in args[1])


@cache
def _depends_on_data(func: Any) -> bool:
    return any(tag in func.tags for tag in _DATA_TAGS)


def _step(func: Any, args: Any, kwargs: Any, out: Any, outside: Outside) -> Callable[[], None]:
    """A closure that runs the op again and puts what it gives into the tensors it gave when recorded."""
    args, kwargs = _borrowing(args, outside), {name: _borrowing(value, outside) for name, value in kwargs.items()}
    # What the op gave of memory from outside it wrote there itself.
    kept = [None if outside.holds(tensor) else tensor for tensor in tensors_in(out)]

    def step() -> None:
        fresh = func(*_there(args), **{name: _there(value) for name, value in kwargs.items()})
        for old, new in zip(kept, tensors_in(fresh), strict=True):
            if old is not None and new is not old:
                old.copy_(new)

    return step


def _borrowing(value: Any, outside: Outside) -> Any:
    """An argument without hold of memory from outside."""
    if isinstance(value, Tensor):
        return Borrowed.of(value) if outside.holds(value) else value
    return type(value)(_borrowing(part, outside) for part in value) if isinstance(value, list | tuple) else value


def _there(value: Any) -> Any:
    """An argument with what it borrows."""
    if isinstance(value, Borrowed):
        return value.tensor()
    return type(value)(map(_there, value)) if isinstance(value, list | tuple) else value
