"""Points: the value of an expression at many sizes at once.

A point is a linear function ``slope * q + base`` for every whole number q of 0 or more. A plain size has slope 0. A class of
sizes without an upper bound, all those with the same remainder, has the modulus as its slope. What holds there for every q
holds for every size of the class. Arithmetic on points is exact; where it cannot be, it raises Undecidable.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Points:
    """The value of an expression at each point: ``slope * q + base`` for every whole q of 0 or more."""

    slope: Integers
    base: Integers

    @classmethod
    def sizes(cls, sizes: Integers) -> "Points":
        """Plain sizes."""
        return cls(np.zeros_like(sizes), sizes)

    @classmethod
    def tail(cls, above: int, modulus: int, step: int = 1) -> "Points":
        """Every multiple of ``step`` above a bound: one class for each remainder by ``modulus``, which step must divide."""
        first = above // modulus * modulus + modulus
        base = np.arange(first, first + modulus, step, dtype=np.int64)
        between = np.arange(above // step * step + step, first, step, dtype=np.int64)
        slope = np.full_like(base, modulus)
        return cls(np.concatenate((np.zeros_like(between), slope)), np.concatenate((between, base)))

    def where(self, mask: Mask) -> "Points":
        """The points where the mask is true."""
        return Points(self.slope[mask], self.base[mask])

    @property
    def plain(self) -> bool:
        """Whether every point is a plain size."""
        return not self.slope.any()


@dataclass(frozen=True, slots=True)
class Ternary:
    """Three-valued truth at each point: true for every q, false for every q, or (neither mask set) undecided."""

    true: Mask
    false: Mask
