"""Partition: traces whose guards together cover every size, so that what they say holds for all of them.

A trace decides each condition as it is at one size and notes it as a guard. Every size at which the same guards hold
takes the same way through the layer and ends alike: that is a region. Traces are made at sizes outside of all regions
until there are none.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import sympy

from harness.proof.regions.conditions import Undecidable, holds
from harness.proof.regions.grid import LARGEST, Axis, Partition, Region, pairs_of
from harness.proof.regions.points import Points
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.sampled import Sampled
from harness.proof.symbols.traced import Trace, trace

# Beyond this, what a layer asks of its width is no alignment but a list of sizes.
_MOST_REGIONS = 40
_MOST_SINGLE = 3
# The sizes of each axis where a guard mixes hidden and latent, which must then be tried in pairs.
_MIXED_LARGEST = 1024


def partition(sampled: Sampled, largest: int = LARGEST) -> Partition:
    """Trace until every size is covered. Raises NotProvable where a guard is not understood, or they are too many."""
    found = Partition([_axis(step, largest) for step in sampled.steps], [], largest=largest)
    for place, hint in _hints(sampled, found):
        region = _region(sampled, found, place, trace(sampled, place, hint))
        if region.mixed and found.largest > _MIXED_LARGEST:
            return partition(sampled, _MIXED_LARGEST)
        found.regions.append(region)
        found.specialised = _specialised(found)
        if found.specialised:
            return found
        if len(found.regions) >= _MOST_REGIONS:
            raise NotProvable(f"more than {_MOST_REGIONS} regions, the last with {_words(region.trace)}")
    return found


@lru_cache
def _axis(step: int, largest: int) -> Axis:
    return Axis.of(step, largest)


def _hints(sampled: Sampled, found: Partition) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(piece, size) to trace next: the case's own size, then the smallest that no region covers."""
    case = sampled.builder.case
    own = (case.hidden, case.latent)[: sampled.builder.axes]
    hint: tuple[int, ...] | None = tuple(int(size) for size in own if size)
    if any(size > found.largest or size % step for size, step in zip(hint or (), sampled.steps, strict=True)):
        hint = _uncovered(found)
    while hint is not None:
        yield sampled.piece(hint), hint
        hint = _uncovered(found)


def _uncovered(found: Partition) -> tuple[int, ...] | None:
    if not found.regions:
        return tuple(int(axis.sizes[0]) for axis in found.axes)
    grid = found.grid()
    if any(region.mixed for region in found.regions):
        return _uncovered_pair(found)
    cells = np.argwhere(~grid.covered)
    if not len(cells):
        return None
    firsts = [
        tuple(
            int(axis.sizes[np.argmax(classes == cell)])
            for axis, classes, cell in zip(found.axes, grid.classes, at, strict=True)
        )
        for at in cells
    ]
    return min(firsts)


def _region(sampled: Sampled, found: Partition, place: int, run: Trace) -> Region:
    sizes = [np.ones(axis.sizes.shape, dtype=np.bool_) for axis in found.axes]
    tails = [np.ones(axis.tail.base.shape, dtype=np.bool_) for axis in found.axes]
    region = Region(run, sizes, tails)
    tests = sampled.pieces[place].tests
    told = [_test(run.symbols[axis], multiple, yes) for axis, multiple, yes in tests]
    for guard in dict.fromkeys((*told, *run.guards)):
        asked = [axis for axis, symbol in enumerate(run.symbols) if symbol in guard.free_symbols]
        if len(asked) > 1:
            region.mixed.append(guard)
        for axis in asked[:1] if len(asked) == 1 else ():
            _narrow(region, axis, guard, found.axes[axis])
    if not all(
        mask[np.searchsorted(axis.sizes, size)] for mask, axis, size in zip(sizes, found.axes, run.hint, strict=True)
    ):
        raise NotProvable(f"the guards of the trace at {run.hint} do not hold there: {_words(run)}")
    return region


def _test(symbol: sympy.Symbol, multiple: int, yes: bool) -> Any:
    kind: Any = sympy.Eq if yes else sympy.Ne
    return kind(sympy.Mod(symbol, multiple), 0)


def _narrow(region: Region, axis: int, guard: Any, over: Axis) -> None:
    """Take the sizes out of a region at which a guard does not hold; asked only where those before it do."""
    symbol, sizes, tails = region.trace.symbols[axis], region.sizes[axis], region.tails[axis]
    try:
        sizes[sizes] = holds(guard, {symbol: Points.sizes(over.sizes[sizes])}).true
    except Undecidable as error:
        raise NotProvable(f"a guard cannot be evaluated ({error}): {guard}") from None
    try:
        tails[tails] = holds(guard, {symbol: over.tail.where(tails)}).true
    except Undecidable as error:
        tails &= False
        region.unknown.append(f"{guard}: {error}")


def _uncovered_pair(found: Partition) -> tuple[int, ...] | None:
    """The first pair of sizes that no region covers, where guards mix the axes."""
    pairs = np.zeros(tuple(len(axis.sizes) for axis in found.axes), dtype=np.bool_)
    for region in found.regions:
        pairs |= pairs_of(found, region)
    at = np.argwhere(~pairs)
    return tuple(int(axis.sizes[place]) for axis, place in zip(found.axes, at[0], strict=True)) if len(at) else None


def _specialised(found: Partition) -> str:
    """The guard that fixes an axis to one size, once that has happened for several."""
    for axis in range(len(found.axes)):
        single = [region for region in found.regions if region.sizes[axis].sum() == 1]
        if len(single) >= _MOST_SINGLE:
            run = single[-1].trace
            fixing = [
                (guard, line)
                for guard, line in zip(run.guards, run.lines, strict=True)
                if isinstance(guard, sympy.Eq) and run.symbols[axis] in guard.free_symbols
            ]
            return f"{fixing[0][0]}, {fixing[0][1]}" if fixing else _words(run)
    return ""


def _words(run: Trace) -> str:
    return ", ".join(str(guard) for guard in run.guards) or "no guard"
