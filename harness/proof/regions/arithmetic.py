"""Arithmetic and logic on points, for each operation in torch's guards. It is exact, or raises Undecidable."""

from functools import reduce
from typing import Any

import numpy as np

from harness.proof.regions.points import Points, Ternary


class Undecidable(Exception):
    """An expression cannot be evaluated exactly at these points; the text says which part of it."""


def add(*parts: Points) -> Points:
    """The sum."""
    return reduce(lambda a, b: Points(a.slope + b.slope, a.base + b.base), parts)


def negative(a: Points) -> Points:
    """Minus a."""
    return Points(-a.slope, -a.base)


def times(*parts: Points) -> Points:
    """The product. That of two unbounded classes is not linear and is refused."""
    return reduce(product, parts)


def product(a: Points, b: Points) -> Points:
    """A * b."""
    if (a.slope * b.slope).any():
        raise Undecidable("a product of two sizes")
    return Points(a.slope * b.base + b.slope * a.base, a.base * b.base)


def floor(a: Points, b: Points) -> Points:
    """A divided by b, rounded down. The divisor must be plain and positive."""
    if not b.plain or (b.base <= 0).any() or (a.slope % b.base).any():
        raise Undecidable("a division whose result is not linear")
    return Points(a.slope // b.base, a.base // b.base)


def ceil(a: Points, b: Points) -> Points:
    """A divided by b, rounded up."""
    return negative(floor(negative(a), b))


def mod(a: Points, b: Points) -> Points:
    """The remainder of a divided by b."""
    if not b.plain or (b.base <= 0).any() or (a.slope % b.base).any():
        raise Undecidable("a remainder that differs within a class")
    return Points(0 * a.slope, a.base % b.base)


def modular_indexing(a: Points, b: Points, c: Points) -> Points:
    """``a // b % c``."""
    return mod(floor(a, b), c)


def power(a: Points, b: Points) -> Points:
    """A to the power of b, both plain."""
    if not b.plain or (b.base < 0).any() or a.slope.any():
        raise Undecidable("a power of a size")
    return Points(a.slope, a.base**b.base)


def least(*parts: Points) -> Points:
    """The smallest."""
    return reduce(lesser, parts)


def lesser(a: Points, b: Points) -> Points:
    """The smaller of two."""
    below = at_least(difference(b, a))
    if not (below.true | at_least(difference(a, b)).true).all():
        raise Undecidable("a minimum that changes from one to the other within a class")
    return Points(np.where(below.true, a.slope, b.slope), np.where(below.true, a.base, b.base))


def most(*parts: Points) -> Points:
    """The largest."""
    return negative(least(*(negative(part) for part in parts)))


def difference(a: Points, b: Points) -> Points:
    """A - b."""
    return Points(a.slope - b.slope, a.base - b.base)


def at_least(d: Points) -> Ternary:
    """Whether d >= 0 for every q, or for none."""
    return Ternary((d.slope >= 0) & (d.base >= 0), (d.slope <= 0) & (d.base < 0))


def zero(d: Points) -> Ternary:
    """Whether d == 0 for every q, or for none."""
    divisor = np.where(d.slope != 0, d.slope, 1)  # 1 only avoids a division by zero
    # slope * q + base is zero at one q, if that is a whole number of 0 or more.
    somewhere = (d.slope != 0) & (d.base % divisor == 0) & (-d.base // divisor >= 0)
    never = np.where(d.slope == 0, d.base != 0, ~somewhere)
    return Ternary((d.slope == 0) & (d.base == 0), never)


def negation(a: Ternary) -> Ternary:
    """Not a."""
    return Ternary(a.false, a.true)


def both(*parts: Ternary) -> Ternary:
    """All of them."""
    return reduce(lambda a, b: Ternary(a.true & b.true, a.false | b.false), parts)


def either(*parts: Ternary) -> Ternary:
    """Any of them."""
    return negation(both(*(negation(part) for part in parts)))


def equal(a: Points, b: Points) -> Ternary:
    """Whether a == b."""
    return zero(difference(a, b))


def identity(a: Points) -> Points:
    """A."""
    return a


ROUNDED = ("CeilToInt", "FloorToInt", "TruncToInt")
METHODS: dict[str, Any] = {
    "Add": add,
    "Mul": times,
    "Pow": power,
    "PowByNatural": power,
    "FloorDiv": floor,
    "CleanDiv": floor,
    "CeilToInt": ceil,
    "FloorToInt": floor,
    "TruncToInt": floor,
    "Mod": mod,
    "PythonMod": mod,
    "ModularIndexing": modular_indexing,
    "Min": least,
    "Max": most,
    "Identity": identity,
    "Equality": equal,
    "Unequality": lambda a, b: negation(equal(a, b)),
    "GreaterThan": lambda a, b: at_least(difference(a, b)),
    "LessThan": lambda a, b: at_least(difference(b, a)),
    "StrictGreaterThan": lambda a, b: negation(at_least(difference(b, a))),
    "StrictLessThan": lambda a, b: negation(at_least(difference(a, b))),
    "And": both,
    "Or": either,
    "Not": negation,
}
