"""Replace symbolic sizes in a fake's outputs by the sizes of the real outputs."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from harness.ops.tensor_meta import Size, TensorMeta


class SymbolResolver:
    """Replaces symbols by numbers. A data-dependent symbol gets the real output's size at its first occurrence."""

    def __init__(self, known: dict[Any, int] | None = None) -> None:
        self.known: dict[Any, int] = dict(known or {})
        self.impossible = ""

    def meta(self, fake: Tensor, real: Tensor) -> TensorMeta:
        """The metadata of a fake output with numbers for symbols."""
        meta = TensorMeta.of(fake)
        if fake.dim() != real.dim():
            return meta  # sizes of another rank say nothing about a symbol
        shape = tuple(self._learn(ours, theirs) for ours, theirs in zip(fake.shape, _padded(real, fake), strict=True))
        stride = tuple(self.number(step) for step in fake.stride())
        return replace(meta, shape=shape, stride=stride, offset=self.number(fake.storage_offset()))

    def _learn(self, size: Any, real: int | None) -> Size:
        if not isinstance(size, int):
            expr = size.node.shape_env.replace(size.node.expr)
            if expr.is_Symbol and expr not in self.known and real is not None and not size.node.has_hint():
                self.known[expr] = real
                self._bounded(size.node.shape_env.bound_sympy(expr), real)
        return self.number(size)

    def _bounded(self, bounds: Any, real: int) -> None:
        """Note a real size outside the range that the fake promises, since compiled code relies on that range."""
        if not bounds.lower <= real <= bounds.upper:
            least = f"at least {bounds.lower}" if real < bounds.lower else f"at most {bounds.upper}"
            self.impossible = f"the fake says that a data-dependent size is {least}, and the real size is {real}"

    def number(self, value: Any) -> Size:
        """An int if every symbol in it is known; else its expression."""
        if isinstance(value, int):
            return value
        expr = value.node.shape_env.replace(value.node.expr).subs(self.known)
        return int(expr) if expr.is_number else str(expr)


def _padded(real: Tensor, fake: Tensor) -> Iterable[int | None]:
    sizes: list[int | None] = list(real.shape)
    return (sizes + [None] * fake.dim())[: fake.dim()]
