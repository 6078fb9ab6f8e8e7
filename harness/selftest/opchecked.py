"""torch.library.opcheck on the ops of a layer.

It takes a third of a second for each op, and most faults lie around an op that is right. So an op is checked once in a process
for the same arguments, to the bit.
"""

from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from harness.base.exception_text import first_line
from harness.execution.rig import LAYER_ERRORS
from harness.ops.higher_order import call_inside, is_higher_order
from harness.ops.names import is_custom
from harness.ops.tensor_bytes import bytes_of
from harness.ops.tensor_meta import TensorMeta
from harness.selftest.tool_result import ToolResult


class RecordedOps(TorchDispatchMode):
    """Records the arguments of the first call of each custom op, as they were before the call."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: dict[Any, tuple[Any, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_higher_order(func):
            return call_inside(self, func, args, kwargs or {})
        kwargs = kwargs or {}
        if is_custom(func._schema.name) and func not in self.calls:
            self.calls[func] = tree_map_only(Tensor, copy_of, (args, kwargs))
        return func(*args, **kwargs)


def copy_of(tensor: Tensor) -> Tensor:
    """A copy with the same strides."""
    span = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    if not tensor.numel():
        return tensor.clone()
    memory = tensor.as_strided((span,), (1,)).clone()
    return memory.as_strided(tensor.shape, tensor.stride())


def opcheck(recorded: RecordedOps) -> ToolResult:
    """Run torch.library.opcheck's default tests on every custom op that the eager calls dispatched."""
    for op, (args, kwargs) in recorded.calls.items():
        key = _key(op, args, kwargs)
        if key not in _said:
            _said[key] = _says(op, args, kwargs)
        if _said[key]:
            return ToolResult(True, _said[key])
    return ToolResult(False)


_said: dict[object, str] = {}  # what opcheck said, empty where it found nothing


def _key(op: Any, args: Any, kwargs: Any) -> object:
    """Equal where the op and every argument are the same, to the bit."""
    leaves, spec = tree_flatten((args, kwargs))
    return (
        op,
        str(spec),
        tuple(_bits(leaf) if isinstance(leaf, Tensor) else (type(leaf), repr(leaf)) for leaf in leaves),
    )


def _bits(tensor: Tensor) -> tuple[object, ...]:
    return TensorMeta.of(tensor), blake2b(bytes_of(tensor).cpu().numpy().tobytes()).digest()


def _says(op: Any, args: Any, kwargs: Any) -> str:
    try:
        results = torch.library.opcheck(op, args, kwargs, raise_exception=False)
    except LAYER_ERRORS as error:  # the op itself raised
        return f"{op}: {type(error).__name__}: {first_line(error)}"
    for test, result in results.items():
        if result != "SUCCESS":
            return f"{op}: {test}: {(str(result).strip() or repr(result)).splitlines()[0]}"
    return ""
