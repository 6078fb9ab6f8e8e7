"""Points: many sizes at once, and what an expression of torch's guards is worth at each of them.

A point is a linear function ``slope * q + base`` of a whole number q of 0 or more. A plain size has slope 0. A class of
sizes without an upper bound, all that leave the remainder r, has the modulus as slope: what holds there for every q
holds for every size of the class. Arithmetic on points is exact, or refused.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import sympy

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]


class Undecidable(Exception):
    """An expression that cannot be evaluated exactly at these points; the text says which part of it."""


@dataclass(frozen=True, slots=True)
class Points:
    """The value of an expression at each point: ``slope * q + base`` for every whole q of 0 or more."""

    slope: Numbers
    base: Numbers

    @classmethod
    def sizes(cls, sizes: Numbers) -> "Points":
        """Plain sizes."""
        return cls(np.zeros_like(sizes), sizes)

    @classmethod
    def tail(cls, above: int, modulus: int, step: int = 1) -> "Points":
        """Every multiple of ``step`` above a bound, one class for each remainder by the modulus, a multiple of step."""
        first = above // modulus * modulus + modulus
        base = np.arange(first, first + modulus, step, dtype=np.int64)
        between = np.arange(above // step * step + step, first, step, dtype=np.int64)
        slope = np.full_like(base, modulus)
        return cls(np.concatenate((np.zeros_like(between), slope)), np.concatenate((between, base)))

    def where(self, mask: Truths) -> "Points":
        """Some of them."""
        return Points(self.slope[mask], self.base[mask])

    @property
    def plain(self) -> bool:
        """Whether every point is a plain size."""
        return not self.slope.any()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Three-valued truth at each point: certainly true, certainly false, or neither known."""

    true: Truths
    false: Truths


def holds(expression: Any, known: dict[sympy.Symbol, Points]) -> Verdicts:
    """Where a boolean expression holds, its symbols being the points. Raises Undecidable where it is not understood."""
    found = _Evaluator(known).value(expression)
    if not isinstance(found, Verdicts):
        raise Undecidable(f"{expression} is no condition")
    return found


class _Evaluator:
    def __init__(self, known: dict[sympy.Symbol, Points]) -> None:
        self.known: dict[Any, Any] = dict(known)
        first = next(iter(known.values()))
        self._ones = np.ones_like(first.base)

    def value(self, expression: Any) -> Any:
        """Points or Verdicts, each part computed once."""
        if expression not in self.known:
            self.known[expression] = self._compute(expression)
        return self.known[expression]

    def _compute(self, expression: Any) -> Any:
        if expression in (sympy.true, sympy.false):
            truth = np.full(self._ones.shape, bool(expression))
            return Verdicts(truth, ~truth)
        if expression.is_Integer:
            return self._constant(int(expression))
        method = _METHODS.get(type(expression).__name__)
        if method is None:
            raise Undecidable(f"{type(expression).__name__} in {expression}")
        if type(expression).__name__ in _ROUNDED:  # of a true division, whose own value is no whole number
            inner = expression.args[0]
            if type(inner).__name__ not in ("IntTrueDiv", "FloatTrueDiv"):
                raise Undecidable(f"{expression}")
            return method(*(self.value(_whole(part)) for part in inner.args))
        return method(*(self.value(part) for part in expression.args))

    def _constant(self, number: int) -> Points:
        return Points(0 * self._ones, number * self._ones)


def _whole(part: Any) -> Any:
    return part.args[0] if type(part).__name__ == "ToFloat" else part


def _add(*parts: Points) -> Points:
    return reduce(lambda a, b: Points(a.slope + b.slope, a.base + b.base), parts)


def _negative(a: Points) -> Points:
    return Points(-a.slope, -a.base)


def _times(*parts: Points) -> Points:
    return reduce(_product, parts)


def _product(a: Points, b: Points) -> Points:
    if (a.slope * b.slope).any():
        raise Undecidable("a product of two sizes")
    return Points(a.slope * b.base + b.slope * a.base, a.base * b.base)


def _floor(a: Points, b: Points) -> Points:
    if not b.plain or (b.base <= 0).any() or (a.slope % b.base).any():
        raise Undecidable("a division that leaves no linear function")
    return Points(a.slope // b.base, a.base // b.base)


def _ceil(a: Points, b: Points) -> Points:
    return _negative(_floor(_negative(a), b))


def _mod(a: Points, b: Points) -> Points:
    if not b.plain or (b.base <= 0).any() or (a.slope % b.base).any():
        raise Undecidable("a remainder that depends on more than the class")
    return Points(0 * a.slope, a.base % b.base)


def _modular_indexing(a: Points, b: Points, c: Points) -> Points:
    return _mod(_floor(a, b), c)


def _power(a: Points, b: Points) -> Points:
    if not b.plain or (b.base < 0).any() or a.slope.any():
        raise Undecidable("a power of a size")
    return Points(a.slope, a.base**b.base)


def _least(*parts: Points) -> Points:
    return reduce(_lesser, parts)


def _lesser(a: Points, b: Points) -> Points:
    below = _at_least(_difference(b, a))
    if not (below.true | _at_least(_difference(a, b)).true).all():
        raise Undecidable("a minimum that changes within a class")
    return Points(np.where(below.true, a.slope, b.slope), np.where(below.true, a.base, b.base))


def _most(*parts: Points) -> Points:
    return _negative(_least(*(_negative(part) for part in parts)))


def _difference(a: Points, b: Points) -> Points:
    return Points(a.slope - b.slope, a.base - b.base)


def _at_least(d: Points) -> Verdicts:
    """Whether d >= 0 for every q, or for none."""
    return Verdicts((d.slope >= 0) & (d.base >= 0), (d.slope <= 0) & (d.base < 0))


def _zero(d: Points) -> Verdicts:
    root = np.where(d.slope != 0, d.slope, 1)
    hit = (d.slope != 0) & (d.base % root == 0) & (-d.base // root >= 0)
    never = np.where(d.slope == 0, d.base != 0, ~hit)
    return Verdicts((d.slope == 0) & (d.base == 0), never)


def _not(a: Verdicts) -> Verdicts:
    return Verdicts(a.false, a.true)


def _and(*parts: Verdicts) -> Verdicts:
    return reduce(lambda a, b: Verdicts(a.true & b.true, a.false | b.false), parts)


def _or(*parts: Verdicts) -> Verdicts:
    return _not(_and(*(_not(part) for part in parts)))


def _equal(a: Points, b: Points) -> Verdicts:
    return _zero(_difference(a, b))


def _identity(a: Points) -> Points:
    return a


_ROUNDED = ("CeilToInt", "FloorToInt", "TruncToInt")
_METHODS: dict[str, Any] = {
    "Add": _add,
    "Mul": _times,
    "Pow": _power,
    "PowByNatural": _power,
    "FloorDiv": _floor,
    "CleanDiv": _floor,
    "CeilToInt": _ceil,
    "FloorToInt": _floor,
    "TruncToInt": _floor,
    "Mod": _mod,
    "PythonMod": _mod,
    "ModularIndexing": _modular_indexing,
    "Min": _least,
    "Max": _most,
    "Identity": _identity,
    "Equality": _equal,
    "Unequality": lambda a, b: _not(_equal(a, b)),
    "GreaterThan": lambda a, b: _at_least(_difference(a, b)),
    "LessThan": lambda a, b: _at_least(_difference(b, a)),
    "StrictGreaterThan": lambda a, b: _not(_at_least(_difference(b, a))),
    "StrictLessThan": lambda a, b: _not(_at_least(_difference(a, b))),
    "And": _and,
    "Or": _or,
    "Not": _not,
}
