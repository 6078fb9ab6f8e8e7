"""Single: regions of one size, which show that a layer fixes the size to a number."""

import sympy

from harness.proof.regions.grid import Partition, Region
from harness.proof.symbols.trace import Trace

# This many regions of one size each show that the layer fixes the size to a number.
MOST_SINGLE = 3


def is_single(region: Region, axis: int) -> bool:
    """Whether a region has one size on an axis."""
    return bool(region.sizes[axis].sum() == 1)


def specialised(so_far: Partition) -> str:
    """The guard that fixes an axis to one size, where several regions are of one size; empty where there are fewer."""
    for axis in range(len(so_far.axes)):
        single = [region for region in so_far.regions if is_single(region, axis)]
        if len(single) >= MOST_SINGLE:
            run = single[-1].trace
            fixing = [
                (guard, line)
                for guard, line in zip(run.guards, run.lines, strict=True)
                if isinstance(guard, sympy.Eq) and run.symbols[axis] in guard.free_symbols
            ]
            return f"{fixing[0][0]}, {fixing[0][1]}" if fixing else guards_text(run)
    return ""


def guards_text(run: Trace) -> str:
    """The guards of a trace, in one line."""
    return ", ".join(str(guard) for guard in run.guards) or "no guard"
