"""Conditions: at which of many points a guard of torch holds."""

from typing import Any

import numpy as np
import sympy

from harness.proof.regions.arithmetic import METHODS, ROUNDED, Undecidable
from harness.proof.regions.points import Points, Ternary

__all__ = ["Undecidable", "holds"]


def holds(expression: Any, known: dict[sympy.Symbol, Points]) -> Ternary:
    """Where a boolean expression holds, given the points of its symbols. Raises Undecidable."""
    truth = _Evaluator(known).value(expression)
    if not isinstance(truth, Ternary):
        raise Undecidable(f"{expression} is not a condition")
    return truth


class _Evaluator:
    def __init__(self, known: dict[sympy.Symbol, Points]) -> None:
        self.known: dict[Any, Any] = dict(known)
        first = next(iter(known.values()))
        self._ones = np.ones_like(first.base)

    def value(self, expression: Any) -> Any:
        """The Points or the Ternary of an expression. Each subexpression is computed once."""
        if expression not in self.known:
            self.known[expression] = self._compute(expression)
        return self.known[expression]

    def _compute(self, expression: Any) -> Any:
        if expression in (sympy.true, sympy.false):
            truth = np.full(self._ones.shape, bool(expression))
            return Ternary(truth, ~truth)
        if expression.is_Integer:
            return self._constant(int(expression))
        method = METHODS.get(type(expression).__name__)
        if method is None:
            raise Undecidable(f"{type(expression).__name__} in {expression}")
        if type(expression).__name__ in ROUNDED:  # rounds a true division, whose own value is not an integer
            inner = expression.args[0]
            if type(inner).__name__ not in ("IntTrueDiv", "FloatTrueDiv"):
                raise Undecidable(f"{expression}")
            return method(*(self.value(_whole(part)) for part in inner.args))
        return method(*(self.value(part) for part in expression.args))

    def _constant(self, number: int) -> Points:
        return Points(0 * self._ones, number * self._ones)


def _whole(part: Any) -> Any:
    return part.args[0] if type(part).__name__ == "ToFloat" else part
