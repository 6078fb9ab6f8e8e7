"""Formula: a number of a layer as a function of its sizes, fitted to the numbers of layers built at several sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, product
from typing import Any

# Multiples that a layer may round widths up to, beside the alignment rule's own.
_MULTIPLES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
Sizes = tuple[int, ...]
"""The value of each axis: (hidden,), or (hidden, latent)."""


@dataclass(frozen=True, slots=True)
class Term:
    """A size, or a size divided by ``multiple`` and rounded up, which is the number of its blocks."""

    axis: int
    multiple: int = 1

    def of(self, sizes: Sequence[Any]) -> Any:
        """Its value at these sizes, plain or symbolic."""
        size = sizes[self.axis]
        return size if self.multiple == 1 else (size + (self.multiple - 1)) // self.multiple


@dataclass(frozen=True, slots=True)
class Formula:
    """``constant`` plus each term times its factor. It is exact at every size that it was fitted to."""

    terms: tuple[tuple[Term, Fraction], ...]
    constant: int

    def of(self, sizes: Sequence[Any]) -> Any:
        """Its value at these sizes, plain or symbolic. A fraction's denominator divides last, so that nothing is rounded."""
        total: Any = self.constant
        for term, factor in self.terms:
            scaled = term.of(sizes) * factor.numerator
            total = total + (scaled if factor.denominator == 1 else scaled // factor.denominator)
        return total


def fit(values: Sequence[int], sizes: Sequence[Sizes], rounding: int) -> Formula | None:
    """The simplest formula that gives ``values[i]`` at ``sizes[i]``, for every i; None where there is none.

    ``rounding`` is the alignment rule's multiple, which is tried before all other multiples. The more sizes there are, and
    the more different their remainders, the fewer wrong formulas fit.
    """
    return _fit(tuple(values), tuple(sizes), rounding)


@lru_cache(maxsize=4096)  # a layer's numbers are few, and proofs of other rules and kernels ask for the same ones
def _fit(values: tuple[int, ...], sizes: tuple[Sizes, ...], rounding: int) -> Formula | None:
    for terms in _candidates(len(sizes[0]), rounding):
        formula = _solved(terms, values, sizes)
        if formula is not None and all(formula.of(at) == value for at, value in zip(sizes, values, strict=True)):
            return formula
    return None


def _candidates(axes: int, rounding: int) -> Iterator[tuple[Term, ...]]:
    multiples = tuple(dict.fromkeys((1, rounding, *_MULTIPLES)))
    singles = [Term(axis, multiple) for multiple, axis in product(multiples, range(axes))]
    yield from ((term,) for term in singles)  # one term before two: the simplest formula wins
    yield from combinations(singles, 2)


def _solved(terms: tuple[Term, ...], values: Sequence[int], sizes: Sequence[Sizes]) -> Formula | None:
    """The formula with these terms, by Gaussian elimination over all samples in exact fractions.

    None where the samples contradict each other or leave the factors undetermined.
    """
    rows = [
        [Fraction(1), *(Fraction(term.of(at)) for term in terms), Fraction(value)]
        for at, value in zip(sizes, values, strict=True)
    ]
    unknowns = len(terms) + 1
    for column in range(unknowns):
        pivot = next((row for row in rows[column:] if row[column]), None)
        if pivot is None:
            return None
        rows.remove(pivot)
        rows.insert(column, pivot)
        for row in rows:
            if row is not pivot and row[column]:
                ratio = row[column] / pivot[column]
                row[:] = [value - ratio * other for value, other in zip(row, pivot, strict=True)]
    if any(row[-1] for row in rows[unknowns:]):
        return None
    constant, *factors = (rows[index][-1] / rows[index][index] for index in range(unknowns))
    if constant.denominator != 1:
        return None
    return Formula(tuple((term, factor) for term, factor in zip(terms, factors, strict=True) if factor), int(constant))
