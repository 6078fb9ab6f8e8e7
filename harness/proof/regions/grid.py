"""Grid: the sizes on each axis, the regions that they belong to, and how many there are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.proof.regions.conditions import Undecidable, holds
from harness.proof.regions.points import Integers, Mask, Points
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.trace import SMALLEST, Trace

LARGEST = 65_536
_TAIL_MODULUS = 1024
# With so few masks a table of every combination is small, and sorting all sizes takes five times as long.
_FEW = 12


@dataclass(frozen=True, slots=True)
class Axis:
    """The sizes of one width: every multiple of ``step`` up to the largest, and classes (``tail``) for all beyond."""

    sizes: Integers
    tail: Points

    @classmethod
    def of(cls, step: int, largest: int) -> "Axis":
        """The axis from the first multiple of ``step`` that is 2 or more."""
        first = max(step, SMALLEST)
        return cls(np.arange(first, largest + 1, step, dtype=np.int64), Points.tail(largest, _TAIL_MODULUS, step))


@dataclass(slots=True)
class Region:
    """A trace and where its guards hold: for each axis a mask over its sizes and one over its tail.

    ``unknown`` lists guards that could not be evaluated on the tail. ``mixed`` lists guards over both hidden and latent,
    which masks for single axes cannot express.
    """

    trace: Trace
    sizes: list[Mask]
    tails: list[Mask]
    unknown: list[str] = field(default_factory=list)
    mixed: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Partition:
    """The regions found, which cover every size. ``specialised`` is the guard that fixed a size to one number, if one did."""

    axes: list[Axis]
    regions: list[Region]
    specialised: str = ""
    largest: int = LARGEST

    def grid(self, only: "Sequence[Region] | None" = None, tail: bool = False) -> "Grid":
        """Which sizes the regions (all, or ``only`` these) cover."""
        return Grid.of(self, self.regions if only is None else only, tail)


@dataclass(frozen=True, slots=True)
class Grid:
    """Sizes grouped into classes at which the same regions' guards hold.

    ``classes[axis][i]`` is the class of size i. ``covered`` has one dimension for each axis, over its classes.
    """

    classes: list[Integers]
    covered: Mask

    @classmethod
    def of(cls, partition: Partition, regions: Sequence[Region], tail: bool) -> "Grid":
        """Compute on classes rather than on sizes: there are billions of pairs of sizes, and few pairs of classes."""
        classes, members = [], []
        for axis in range(len(partition.axes)):
            rows = [(region.tails if tail else region.sizes)[axis] for region in partition.regions]
            kinds, indices = _kinds(rows)
            classes.append(indices)
            members.append([kinds >> bit & 1 == 1 for bit in range(len(rows))])
        shape = tuple(len(kinds[0]) for kinds in members)
        covered = np.zeros(shape, dtype=np.bool_)
        for bit, region in enumerate(partition.regions):
            if any(region is one for one in regions):
                covered |= _outer([kinds[bit] for kinds in members])
        return cls(classes, covered)

    @property
    def counts(self) -> Integers:
        """The number of sizes (or pairs of sizes) in each cell of ``covered``."""
        sizes = zip(self.classes, self.covered.shape, strict=True)
        counts: Integers = _outer([np.bincount(indices, minlength=length) for indices, length in sizes])
        return counts

    @property
    def count(self) -> int:
        """The number of sizes (or pairs of sizes) that are covered."""
        return int(self.counts[self.covered].sum())

    @property
    def total(self) -> int:
        """The number of sizes (or pairs of sizes) in all."""
        return int(self.counts.sum())


def _kinds(rows: Sequence[Mask]) -> tuple[Integers, Integers]:
    """The distinct columns of several masks, each as a number whose bit i is of mask i, and for each column its index there."""
    keys = np.zeros(len(rows[0]), dtype=np.int64)
    for bit, row in enumerate(rows):
        keys |= row.astype(np.int64) << bit
    if len(rows) > _FEW:
        kinds, indices = np.unique(keys, return_inverse=True)
        return kinds, indices
    kinds = np.flatnonzero(np.bincount(keys))
    index_of = np.zeros(1 << len(rows), dtype=np.int64)
    index_of[kinds] = np.arange(len(kinds))
    return kinds, index_of[keys]


def _outer(rows: Sequence[Any]) -> Any:
    product = rows[0]
    for row in rows[1:]:
        product = np.multiply.outer(product, row)
    return product


def pairs_of(partition: Partition, region: Region) -> Mask:
    """A mask over all pairs of sizes: where the region is. Raises NotProvable."""
    where: Mask = _outer(region.sizes)
    known = {
        symbol: Points.sizes(axis.sizes.reshape([-1 if index == other else 1 for other in range(len(partition.axes))]))
        for index, (symbol, axis) in enumerate(zip(region.trace.symbols, partition.axes, strict=True))
    }
    for guard in region.mixed:
        try:
            where = where & holds(guard, known).true
        except Undecidable as error:
            raise NotProvable(f"a guard cannot be evaluated ({error}): {guard}") from None
    return where
