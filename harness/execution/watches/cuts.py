"""A cut of the routed experts' output that reads other rows than it should, seen by where its rows begin, and mended."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.execution.evidence import Miscut, same_bits
from harness.execution.memory.external_memory import is_view, tensors_in
from harness.execution.memory.wrapped import wrap_others
from harness.ops.higher_order import call_inside, is_higher_order
from harness.ops.names import op_name


@dataclass(frozen=True, slots=True)
class Rows:
    """``tokens`` rows of ``padded`` columns, of which ``width`` are true ones, from output ``index`` of ``op``."""

    op: str
    index: int | None
    tokens: int
    width: int
    padded: int


class CutWatch(TorchDispatchMode):
    """Notes the first tensor [tokens, width] that is cut out of padded rows and whose rows begin elsewhere than theirs.

    ``mend`` gives the layer the right columns in its place, in memory of their own.
    """

    supports_higher_order_operators = True

    def __init__(self, rows: Rows, mend: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Miscut | None = None
        self._rows, self._mend = rows, mend
        self._buffers: list[Tensor] = []  # the op's output and what is computed of it at that width; kept alive

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        if is_higher_order(func):
            return call_inside(self, func, args, kwargs or {})
        given = [*tensors_in((args, [*(kwargs or {}).values()]))]
        out = func(*args, **(kwargs or {}))
        if op_name(func) == self._rows.op:
            outputs = [*tensors_in(out)]
            index = self._rows.index
            self._buffers += filter(self._is_padded, outputs if index is None else outputs[index : index + 1])
        elif isinstance(out, Tensor) and self._buffers:
            return self._cut(func, given, out)
        return out

    def _cut(self, func: Any, given: list[Tensor], out: Tensor) -> Tensor:
        """What an op gives, or the right columns where it is a wrong cut."""
        if self._is_padded(out) and not is_view(func) and any(_share(one, b) for one in given for b in self._buffers):
            self._buffers.append(out)
        if out.shape != (self._rows.tokens, self._rows.width):
            return out
        for buffer in self._buffers:
            if (begins := self._begins(buffer, out)) is None:
                continue
            self.found = self.found or Miscut(self._text(begins), SourceLine.here())
            return buffer[:, : self._rows.width].contiguous() if self._mend else out
        return out

    def _begins(self, buffer: Tensor, out: Tensor) -> int | None:
        """At which element of the buffer row 1 of a cut begins; None where each row lies in its own, or it is no cut of it."""
        if _share(buffer, out):
            offset, step = out.storage_offset() - buffer.storage_offset(), out.stride(0)
            inside = 0 <= offset <= self._rows.padded - self._rows.width
            return None if inside and step == buffer.stride(0) else int(offset + step)
        if not buffer.is_contiguous() or out.dtype != buffer.dtype:
            return None
        flat = buffer.view(-1)[: out.numel()].view(out.shape)
        right = buffer[:, : self._rows.width]
        is_flat = same_bits(flat, out.contiguous()) and not same_bits(right.contiguous(), out.contiguous())
        return self._rows.width if is_flat else None

    def _text(self, begins: int) -> str:
        padded = self._rows.padded
        return (
            f"The cut reads row 1 of the routed experts' output from element {begins} on, where rows are {padded} elements "
            f"apart: so padding and other tokens' columns come into the rows. The layer is right where each row is cut by itself."
        )

    def _is_padded(self, tensor: Tensor) -> bool:
        return tensor.shape == (self._rows.tokens, self._rows.padded)


def _share(one: Tensor, other: Tensor) -> bool:
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)
