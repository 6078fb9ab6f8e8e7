"""Partition: traces whose guards together cover every size, so that their outcomes hold for all sizes.

A trace decides each condition as it is at one size, its hint, and records it as a guard. Every size at which the same guards
hold takes the same path through the layer and has the same outcome: these sizes are a region. The layer is traced at sizes
that no region covers until there are none.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import sympy

from harness.proof.regions.conditions import Undecidable, holds
from harness.proof.regions.grid import LARGEST, Axis, Partition, Region, pairs_of
from harness.proof.regions.points import Points
from harness.proof.regions.single import guards_text, specialised
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.symbolic_layer import SymbolicLayer
from harness.proof.symbols.trace import trace_layer

# A layer with more regions does not depend on the alignment of its sizes but on single sizes.
_MOST_REGIONS = 40
# The largest size on each axis where a guard mixes hidden and latent, since every pair of sizes is then evaluated.
_MIXED_LARGEST = 1024


def partition(symbolic: SymbolicLayer, largest: int = LARGEST) -> Partition:
    """Trace until every size is covered. Raises NotProvable where a guard cannot be evaluated or there are too many regions."""
    so_far = Partition([_axis(step, largest) for step in symbolic.steps], [], largest=largest)
    for structure, hint in _hints(symbolic, so_far):
        region = region_of(symbolic, so_far, structure, hint)
        if region.mixed and so_far.largest > _MIXED_LARGEST:
            return partition(symbolic, _MIXED_LARGEST)
        so_far.regions.append(region)
        so_far.specialised = specialised(so_far)
        if so_far.specialised:
            return so_far
        if len(so_far.regions) >= _MOST_REGIONS:
            raise NotProvable(f"more than {_MOST_REGIONS} regions, the last with {guards_text(region.trace)}")
    return so_far


@lru_cache
def _axis(step: int, largest: int) -> Axis:
    return Axis.of(step, largest)


def _hints(symbolic: SymbolicLayer, so_far: Partition) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(structure, sizes) to trace next: the case's own sizes first, then the smallest that no region covers."""
    case = symbolic.builder.case
    own = (case.hidden, case.latent)[: symbolic.builder.axes]
    hint: tuple[int, ...] | None = tuple(int(size) for size in own if size)
    if any(size > so_far.largest or size % step for size, step in zip(hint or (), symbolic.steps, strict=True)):
        hint = _uncovered(so_far)
    while hint is not None:
        yield symbolic.structure_at(hint), hint
        hint = _uncovered(so_far)


def _uncovered(so_far: Partition) -> tuple[int, ...] | None:
    if not so_far.regions:
        return tuple(int(axis.sizes[0]) for axis in so_far.axes)
    grid = so_far.grid()
    if any(region.mixed for region in so_far.regions):
        return _uncovered_pair(so_far)
    cells = np.argwhere(~grid.covered)
    if not len(cells):
        return None
    firsts = [
        tuple(
            int(axis.sizes[np.argmax(classes == cell)])
            for axis, classes, cell in zip(so_far.axes, grid.classes, at, strict=True)
        )
        for at in cells
    ]
    return min(firsts)


def region_of(symbolic: SymbolicLayer, so_far: Partition, structure: int, hint: tuple[int, ...]) -> Region:
    """The sizes at which the layer of a structure takes the same way as at ``hint``. Raises NotProvable."""
    run = trace_layer(symbolic, structure, hint)
    sizes = [np.ones(axis.sizes.shape, dtype=np.bool_) for axis in so_far.axes]
    tails = [np.ones(axis.tail.base.shape, dtype=np.bool_) for axis in so_far.axes]
    region = Region(run, sizes, tails)
    # The trace holds only where the layer has the structure that was traced.
    tests = [
        _divides(run.symbols[axis], multiple, divisible)
        for axis, multiple, divisible in symbolic.structures[structure].tests
    ]
    for guard in dict.fromkeys((*tests, *run.guards)):
        axes = [axis for axis, symbol in enumerate(run.symbols) if symbol in guard.free_symbols]
        if len(axes) > 1:
            region.mixed.append(guard)
        elif axes:
            _narrow(region, axes[0], guard, so_far.axes[axes[0]])
    if not all(
        mask[np.searchsorted(axis.sizes, size)] for mask, axis, size in zip(sizes, so_far.axes, run.hint, strict=True)
    ):
        raise NotProvable(f"the guards of the trace at {run.hint} do not hold there: {guards_text(run)}")
    return region


def _divides(symbol: sympy.Symbol, multiple: int, divisible: bool) -> Any:
    kind: Any = sympy.Eq if divisible else sympy.Ne
    return kind(sympy.Mod(symbol, multiple), 0)


def _narrow(region: Region, axis: int, guard: Any, over: Axis) -> None:
    """Remove the sizes at which a guard does not hold. It is evaluated only where the guards before it hold."""
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


def _uncovered_pair(so_far: Partition) -> tuple[int, ...] | None:
    """The first pair of sizes that no region covers, where guards mix the axes."""
    pairs = np.zeros(tuple(len(axis.sizes) for axis in so_far.axes), dtype=np.bool_)
    for region in so_far.regions:
        pairs |= pairs_of(so_far, region)
    at = np.argwhere(~pairs)
    return tuple(int(axis.sizes[index]) for axis, index in zip(so_far.axes, at[0], strict=True)) if len(at) else None
