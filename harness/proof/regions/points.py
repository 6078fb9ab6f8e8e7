"""Points: many sizes at once, and what an expression of torch's guards is worth at each of them.

A point is a linear function ``slope * q + base`` of a whole number q of 0 or more. A plain size has slope 0. A class of
sizes without an upper bound, all that leave the remainder r, has the modulus as slope: what holds there for every q
holds for every size of the class. Arithmetic on points is exact, or refused.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]


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
