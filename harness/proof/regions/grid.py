"""Grid: the sizes of each width, the regions they fall into, and how many of them are in which."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.proof.regions.conditions import Undecidable, holds
from harness.proof.regions.points import Numbers, Points, Truths
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.traced import SMALLEST, Trace

LARGEST = 65_536
_TAIL_MODULUS = 1024


@dataclass(frozen=True, slots=True)
class Axis:
    """The sizes of one width: every multiple of ``step`` up to the largest, and classes for all beyond."""

    sizes: Numbers
    tail: Points

    @classmethod
    def of(cls, step: int, largest: int) -> "Axis":
        """From the first multiple of step that is 2 or more."""
        first = max(step, SMALLEST)
        return cls(np.arange(first, largest + 1, step, dtype=np.int64), Points.tail(largest, _TAIL_MODULUS, step))


@dataclass(slots=True)
class Region:
    """A trace and where its guards hold: per axis, the sizes and the classes beyond them."""

    trace: Trace
    sizes: list[Truths]
    tails: list[Truths]
    unknown: list[str] = field(default_factory=list)
    mixed: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Partition:
    """Regions that cover all sizes; ``specialised`` is the guard that fixed a size to one number, if one did."""

    axes: list[Axis]
    regions: list[Region]
    specialised: str = ""
    largest: int = LARGEST

    def grid(self, only: "Sequence[Region] | None" = None, tail: bool = False) -> "Grid":
        """Which of the regions (all, or ``only`` these) cover which sizes."""
        return Grid.of(self, self.regions if only is None else only, tail)


@dataclass(frozen=True, slots=True)
class Grid:
    """Sizes grouped by which regions' guards hold there: ``classes[axis][i]`` is the class of size i.

    ``covered`` has one dimension an axis, over its classes.
    """

    classes: list[Numbers]
    covered: Truths

    @classmethod
    def of(cls, partition: Partition, regions: Sequence[Region], tail: bool) -> "Grid":
        """Classes of sizes are few, pairs of sizes are billions."""
        classes, members = [], []
        for axis in range(len(partition.axes)):
            rows = [(region.tails if tail else region.sizes)[axis] for region in partition.regions]
            keys = sum(row.astype(np.int64) << place for place, row in enumerate(rows))
            kinds, found = np.unique(keys, return_inverse=True)
            classes.append(found)
            members.append([kinds >> place & 1 == 1 for place in range(len(rows))])
        shape = tuple(len(kinds[0]) for kinds in members)
        covered = np.zeros(shape, dtype=np.bool_)
        for place, region in enumerate(partition.regions):
            if any(region is one for one in regions):
                covered |= _outer([kinds[place] for kinds in members])
        return cls(classes, covered)

    @property
    def counts(self) -> Numbers:
        """How many sizes (pairs of sizes) each cell of ``covered`` stands for."""
        sizes = zip(self.classes, self.covered.shape, strict=True)
        counts: Numbers = _outer([np.bincount(found, minlength=most) for found, most in sizes])
        return counts

    @property
    def count(self) -> int:
        """How many sizes (pairs of sizes) are covered."""
        return int(self.counts[self.covered].sum())

    @property
    def total(self) -> int:
        """How many there are."""
        return int(self.counts.sum())


def _outer(rows: Sequence[Any]) -> Any:
    found = rows[0]
    for row in rows[1:]:
        found = np.multiply.outer(found, row)
    return found


def pairs_of(found: Partition, region: Region) -> Truths:
    """Where a region is, over pairs of sizes."""
    where: Truths = _outer(region.sizes)
    known = {
        symbol: Points.sizes(axis.sizes.reshape([-1 if place == other else 1 for other in range(len(found.axes))]))
        for place, (symbol, axis) in enumerate(zip(region.trace.symbols, found.axes, strict=True))
    }
    for guard in region.mixed:
        try:
            where = where & holds(guard, known).true
        except Undecidable as error:
            raise NotProvable(f"a guard cannot be evaluated ({error}): {guard}") from None
    return where
