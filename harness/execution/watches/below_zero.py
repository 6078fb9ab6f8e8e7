"""An index below zero inside an op: torch takes it from the end, where an id below zero should name nothing."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.execution.memory.external_memory import tensors_in
from harness.execution.memory.wrapped import wrap_others
from harness.ops.names import op_name

_INDEXING = frozenset(("aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index"))


class BelowZero(TorchDispatchMode):
    """Notes the user's ``line`` of the first op inside of another op that is given an index below zero; None for none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.line: SourceLine | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        if self.line is None and op_name(func) in _INDEXING and any(map(_is_below_zero, tensors_in(args[1]))):
            self.line = SourceLine.here()
        return func(*args, **(kwargs or {}))


def _is_below_zero(index: Tensor) -> bool:
    """Whether a tensor of indices holds one below zero. A mask holds none."""
    return not index.is_floating_point() and bool((index < 0).any())
