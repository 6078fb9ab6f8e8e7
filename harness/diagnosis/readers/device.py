"""Memory faults and assertions on the device: reported late, so the place in the text may not be the one."""

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.surroundings import Surroundings

_LATE = "CUDA reports it late: the line in the text may be another than the kernel's (CUDA_LAUNCH_BLOCKING=1)."


def read_device(facts: Facts, around: Surroundings) -> Reading:
    """Whether the text speaks for padded rows, for a graph's memory, or for neither."""
    moe, replay = facts.seen("moe"), facts.seen("replay")
    indexed = facts.match.kind.id == "device-assert"
    tags = frozenset([tag for tag, seen in (("moe", moe), ("replay", replay)) if seen])
    what = "An index was out of range in a kernel." if indexed else "A kernel read or wrote memory that is not its own."
    if not moe and not replay:
        return Reading(
            verdict=OTHER,
            stage="a kernel on the device",
            cause=f"{what} {_LATE} The text names no MoE layer, no padding and no CUDA graph.",
            against=("padding: nothing in the text speaks for it",),
            look="CUDA_LAUNCH_BLOCKING=1 for the line, compute-sanitizer for the kernel; ids of an embedding or labels for an assert on an index",
            tags=tags,
        )
    return Reading(
        verdict=UNDECIDED,
        stage="a replay of a CUDA graph" if replay else "routed experts",
        cause=f"{what} {_LATE} {_possible(moe, replay)}",
        against=(
            "a width that was not cut off: that is a shape error, or wrong columns, before it is a fault",
            "each of these causes: the text alone does not tell them apart, CUDA_LAUNCH_BLOCKING=1 and compute-sanitizer do",
        ),
        look="the same run with graphs off (enforce_eager, --disable-cuda-graph): gone means the graph's memory or its rows of padding",
        tags=tags,
        tries=(
            *(("harness check --modes cudagraph --device cuda",) if replay else ()),
            "harness check --modes cudagraph-dynamic --tokens 1,7,33 --device cuda",
        ),
    )


def _possible(moe: bool, replay: bool) -> str:
    ids = "expert id -1 or ids out of range in rows that fill a batch, used as an index"
    memory = "memory that a captured graph reads and that was freed or replaced since"
    if moe and replay:
        return f"Two causes are of this family: {ids}; {memory}."
    return f"One cause is of this family: {ids if moe else memory}."
