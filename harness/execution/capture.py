"""An emulation of CUDA graph capture for machines without CUDA: dispatched ops are recorded once and replayed.

Like a real capture it records kernels, not Python. What the host did once is not repeated, buffers keep their addresses,
and whatever a capture refuses is refused: a host sync, a data-dependent shape, a copy to or from the host. It executes nothing:
external memory that the ops wrote holds what it held before. It records the ops inside custom ops too, so that the memory
that they allocate or read is known. It does not keep external memory alive. It does not test CUDA kernels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.execution.capture_rules import (
    FROM_HOST,
    CaptureRefused,
    WithoutHostChecks,
    depends_on_data,
    host_guard,
    masked_write,
    on_host,
    one_hot,
    shape_known,
)
from harness.execution.memory.external_memory import ExternalMemory, ExternalMemoryMode, WeakTensor, tensors_in
from harness.execution.memory.fresh_memory import call_filled
from harness.execution.memory.wrapped import wrap_others
from harness.ops.arguments import declared_writes
from harness.ops.higher_order import is_higher_order


class NotCaptured(RuntimeError):
    """A compiled layer ran without replaying a CUDA graph."""

    cause = "torch.compile runs this layer without a CUDA graph. Outside the harness it only logs that."


class RecordedAgain(NotCaptured):
    """torch.compile recorded a new CUDA graph where it should have replayed one."""

    cause = (
        "torch.compile records a new graph where a weight or buffer that the graph reads has moved, or where an earlier "
        "output is alive or freed against its expectation."
    )


_BY_PREDICATE = ("cond", "while_loop")


class OpGraph(ExternalMemoryMode):
    """The ops that one call dispatched, with the very tensors they read and wrote. External memory is referenced weakly."""

    def __init__(self) -> None:
        super().__init__(ExternalMemory("cpu"))
        self._steps: list[Callable[[], None]] = []
        self._made: list[Tensor] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def capture(self, function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Any:
        """Run ``function`` once and record it, then undo what it wrote to external memory. Raises CaptureRefused."""
        try:
            with host_guard(), WithoutHostChecks(), self:
                return function(*inputs)
        finally:
            for storage, before in self._before.values():
                storage.copy_(before)
            self._before.clear()

    def replay(self) -> None:
        """Run the recorded ops on the same buffers. Raises FreedMemory."""
        self.external.check()
        with torch.inference_mode():  # what the layer made under inference mode can be written only here
            for step in self._steps:
                step()

    def empty(self) -> None:
        """Overwrite the memory that the ops made: a capture executes nothing, so it has no contents before the first replay.

        Numbers become NaN and integers zero, since a kernel that takes one for an index may not look at its bounds.
        """
        with torch.inference_mode():
            for tensor in self._made:
                tensor.fill_(torch.nan if tensor.is_floating_point() or tensor.is_complex() else 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        if is_higher_order(func):
            if func.name() in _BY_PREDICATE:
                raise CaptureRefused(f"torch.{func.name()} in a capture reads its predicate on the host")
            return super().__torch_dispatch__(func, types, args, kwargs)
        if func._schema.name in FROM_HOST:
            if args[0].dim():
                raise CaptureRefused("a tensor made of numbers in a capture copies from the host")
            # ``x[0] = 1`` makes a scalar tensor, which CUDA passes to the kernel by value: it is not external memory.
            self.external.note_created(args)
        if func._schema.name == "aten::one_hot":  # inside a custom op, and under inference mode
            with self:
                return one_hot(*args, **(kwargs or {}))
        if func is torch.ops.aten.tensor_split.tensor_indices_or_sections:  # these indices are on the host always
            where = on_host(args[1])
            with self:
                return torch.tensor_split(args[0], where, *args[2:], **(kwargs or {}))
        if masked_write(func, args):
            raise CaptureRefused(f"{func._schema.name} with a mask in a capture depends on the data")
        if depends_on_data(func) and not shape_known(func, args, kwargs or {}):
            raise CaptureRefused(f"{func._schema.name} in a capture depends on the data")
        return super().__torch_dispatch__(func, types, args, kwargs)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an op that is a kernel, and record it."""
        for tensor in filter(self.external.contains, declared_writes(func, args, kwargs)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._before:
                self._before[storage._cdata] = storage, storage.clone()
        out = call_filled(func, *args, **kwargs)
        self._made += [tensor for tensor in tensors_in(out) if not self.external.contains(tensor)]
        self._steps.append(_step(func, args, kwargs, out, self.external))
        return out


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
