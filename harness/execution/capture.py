"""An emulation of CUDA graph capture for machines without CUDA: dispatched ops are recorded once and replayed.

Like a real capture it records kernels, not Python. What the host did once is not repeated, buffers keep their addresses,
and whatever a capture refuses is refused: a host sync, a data-dependent shape, a copy to or from the host. It records the
ops inside custom ops too, so that the memory that they allocate or read is known. It does not keep external memory alive.
It does not test CUDA kernels.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.base.source import SourceLine
from harness.execution.external_memory import ExternalMemory, ExternalMemoryMode, WeakTensor, tensors_in
from harness.execution.fresh_memory import call_filled

# On a CPU tensor these dispatch no op, so a dispatch mode cannot see them: they are patched instead.
_HOST_READS = {"cpu": ".cpu()", "numpy": ".numpy()", "tolist": ".tolist()", "__array__": "numpy.asarray()"}
_HOST_WRITES = {name: f"torch.{name}()" for name in ("tensor", "as_tensor", "asarray", "from_numpy")}
# torch.Tensor([...]), torch.FloatTensor([...]) and the like dispatch these once their memory is filled.
_FROM_HOST = ("aten::lift_fresh", "aten::lift")
_DATA_TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
_MASKS = (torch.bool, torch.uint8)
_INDEX_PUTS = ("aten::index_put", "aten::index_put_", "aten::_unsafe_index_put", "aten::_index_put_impl_")


class CaptureRefused(RuntimeError):
    """The layer did what a real capture would refuse. ``line`` is the user's line, ``cause`` the reason for the refusal."""

    cause = (
        "A CUDA graph records kernels only. During a capture the host may not wait for the device, copy to or from it "
        "synchronously, or depend on its data."
    )

    def __init__(self, what: str, cause: str = "") -> None:
        super().__init__(what)
        self.line = SourceLine.here()
        self.cause = cause or CaptureRefused.cause


class NotCaptured(RuntimeError):
    """A compiled layer ran without replaying a CUDA graph."""

    cause = "torch.compile runs this layer without a CUDA graph. Outside the harness it only logs that."


class RecordedAgain(NotCaptured):
    """torch.compile recorded a new CUDA graph where it should have replayed one."""

    cause = (
        "torch.compile records a new graph where a weight or buffer that the graph reads has moved, or where an earlier "
        "output is alive or freed against its expectation."
    )


def _refuse(what: str) -> Callable[..., Any]:
    def refused(*args: Any, **kwargs: Any) -> Any:
        raise CaptureRefused(what)

    return refused


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if "cpu" in [target for target in (*args, *kwargs.values()) if isinstance(target, str)]:
        if not kwargs.get("non_blocking"):
            raise CaptureRefused('.to("cpu") in a capture copies to the host')
        kwargs["copy"] = True  # a copy that does not wait is captured
    return torch._C.TensorBase.to(tensor, *args, **kwargs)


def _unless_scalar(function: Callable[..., Any], refused: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.tensor(1.0)`` without a device stays on the host, and a kernel takes it by value; anything else is a copy."""

    def make(data: Any, *args: Any, **kwargs: Any) -> Any:
        by_value = isinstance(data, bool | int | float) and kwargs.get("device") is None
        return (function if by_value else refused)(data, *args, **kwargs)

    return make


@contextmanager
def _host_guard() -> Iterator[None]:
    """Refuse copies between host and device. Patches, because a TorchFunctionMode is off inside custom ops."""
    reads = {name: _refuse(f"{shown} in a capture waits for the device") for name, shown in _HOST_READS.items()}
    reads["new_tensor"] = _refuse(".new_tensor() in a capture copies from the host")
    writes = {name: _refuse(f"{shown} in a capture copies from the host") for name, shown in _HOST_WRITES.items()}
    for name in ("tensor", "as_tensor"):
        writes[name] = _unless_scalar(getattr(torch, name), writes[name])
    with ExitStack() as stack:
        for owner, patches in ((Tensor, reads | {"to": _to}), (torch, writes)):
            for name, function in patches.items():
                stack.enter_context(mock.patch.object(owner, name, function))
        yield


class _WithoutHostChecks(TorchFunctionMode):
    """Runs ``one_hot(ids, classes)`` as CUDA does. On a CPU it first reads the ids, to check them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch._C._nn.one_hot, torch.ops.aten.one_hot, torch.ops.aten.one_hot.default):
            return _one_hot(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _one_hot(ids: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 0:
        raise CaptureRefused("one_hot without num_classes in a capture depends on the data")
    return ids.new_zeros(*ids.shape, num_classes).scatter_(-1, ids.unsqueeze(-1), 1)


class OpGraph(ExternalMemoryMode):
    """The ops that one call dispatched, with the very tensors they read and wrote. External memory is referenced weakly."""

    def __init__(self) -> None:
        super().__init__(ExternalMemory("cpu"))
        self._steps: list[Callable[[], None]] = []

    def capture(self, function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Any:
        """Run ``function`` once and record it. Raises CaptureRefused."""
        with _host_guard(), _WithoutHostChecks(), self:
            return function(*inputs)

    def replay(self) -> None:
        """Run the recorded ops on the same buffers. Raises FreedMemory."""
        self.external.check()
        with torch.inference_mode():  # what the layer made under inference mode can be written only here
            for step in self._steps:
                step()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in _FROM_HOST:
            if args[0].dim():
                raise CaptureRefused("a tensor made of numbers in a capture copies from the host")
            # ``x[0] = 1`` makes a scalar tensor, which CUDA passes to the kernel by value: it is not external memory.
            self.external.note_created(args)
        if func._schema.name == "aten::one_hot":  # inside a custom op, and under inference mode
            with self:
                return _one_hot(*args, **(kwargs or {}))
        if func is torch.ops.aten.tensor_split.tensor_indices_or_sections:  # these indices are on the host always
            where = _on_host(args[1])
            with self:
                return torch.tensor_split(args[0], where, *args[2:], **(kwargs or {}))
        if _masked_write(func, args):
            raise CaptureRefused(f"{func._schema.name} with a mask in a capture depends on the data")
        if _depends_on_data(func) and not _shape_known(func, args, kwargs or {}):
            raise CaptureRefused(f"{func._schema.name} in a capture depends on the data")
        return super().__torch_dispatch__(func, types, args, kwargs)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an op that is a kernel, and record it."""
        out = call_filled(func, *args, **kwargs)
        self._steps.append(_step(func, args, kwargs, out, self.external))
        return out


def _shape_known(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an op whose tag says that it depends on data does not wait for data here. A real capture then takes it.

    It takes ``torch.equal`` too. Its answer is fixed at the capture, which the values of a replay show.
    """
    if func is torch.ops.aten.index.Tensor:
        return not _has_mask(args[1])
    if func is torch.ops.aten.repeat_interleave.Tensor:
        return (args[1] if len(args) > 1 else kwargs.get("output_size")) is not None
    return func is torch.ops.aten.equal.default


def _masked_write(func: Any, args: Any) -> bool:
    """Whether this writes a tensor through a mask, whose elements must be counted. A single number fills through the mask."""
    return func._schema.name in _INDEX_PUTS and _has_mask(args[1]) and bool(args[2].dim())


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in _MASKS for index in indices)


def _on_host(indices: Tensor) -> int | tuple[int, ...]:
    return tuple(int(index) for index in indices) if indices.dim() else int(indices)


@cache
def _depends_on_data(func: Any) -> bool:
    return any(tag in func.tags for tag in _DATA_TAGS)


def _step(func: Any, args: Any, kwargs: Any, out: Any, external: ExternalMemory) -> Callable[[], None]:
    """A function that runs the op again and copies its results into the tensors that it returned in the capture."""
    args = _weak(args, external)
    kwargs = {name: _weak(value, external) for name, value in kwargs.items()}
    # An output in external memory needs no copy: the op wrote it in place.
    captured = [None if external.contains(tensor) else tensor for tensor in tensors_in(out)]

    def step() -> None:
        results = call_filled(func, *_resolved(args), **{name: _resolved(value) for name, value in kwargs.items()})
        for old, new in zip(captured, tensors_in(results), strict=True):
            if old is not None and new is not old:
                old.copy_(new)

    return step


def _weak(value: Any, external: ExternalMemory) -> Any:
    """An op's argument with weak references to the tensors in external memory, so that a step keeps none of it alive."""
    if isinstance(value, Tensor):
        return WeakTensor.of(value) if external.contains(value) else value
    return type(value)(_weak(part, external) for part in value) if isinstance(value, list | tuple) else value


def _resolved(value: Any) -> Any:
    """The inverse of ``_weak``."""
    if isinstance(value, WeakTensor):
        return value.tensor()
    return type(value)(map(_resolved, value)) if isinstance(value, list | tuple) else value
