"""A collective that was given a tensor that is not contiguous."""

import re

from harness.diagnosis.diagnosis import FAMILY, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.pairs import of_a_layer, speaks
from harness.diagnosis.readers.views.cuts import CUT, VIEWED
from harness.diagnosis.readers.views.plain import FITS
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import flags, model_without_widths

_CALLS = re.compile(r"all_?reduce|reduce_scatter|all_?gather|all_to_all", re.I)
_SLICE = re.compile(r"[A-Za-z_][\w.]*\[(?:\.\.\.|:), ?: ?[^\[\]]{1,60}\]")
_REDUCES = re.compile(
    r"all_?reduce|reduce_scatter|all_?gather|all_to_all|symm_mem|pynccl|broadcast_ep|ProcessGroup|distributed_c10d",
    re.I,
)


def is_reduced(facts: Facts) -> bool:
    """Whether a collective was given the tensor: by the user's line and those around it, where the text has frames."""
    if not facts.frames:
        return facts.seen("collective")
    near = " ".join(f"{frame.function} {frame.code} {frame.file}" for frame in facts.frames[-3:])
    line = f"{facts.function} {facts.code} {facts.user_line} {facts.match.text}"
    return bool(_REDUCES.search(near) or _REDUCES.search(line))


def reduced(facts: Facts, around: Surroundings) -> Reading:
    """What the collective does with it, and what may have made it so."""
    model = around.models[0] if around.models else None
    ranks = around.ranks_at(facts.number)
    torchs = facts.match.order == 0
    own = torchs and bool(VIEWED.search(facts.code))  # then any number of ranks fails
    known = speaks(facts) or (torchs and (of_a_layer(facts) or bool(_cut(facts))))
    others = "" if torchs and known else ", and so do transposes and other slices"
    does = "flattens its input with view(-1)" if torchs else "wants contiguous memory"
    does = "takes its input through a view at the user's line" if own else does
    return Reading(
        verdict=FAMILY if known else UNDECIDED,
        stage=_collective(facts),
        cause=f"A collective {does} and was given a tensor that is not contiguous. "
        f"Cutting the padding off gives such a view{others}{_cut(facts)}.",
        against=(
            FITS
            if not torchs
            else "a wrong width: a view of another number of elements reads 'is invalid for input of size'",
            *(() if own else ("one rank: without a collective nothing asks for it, so it needs two",)),
        ),
        look=".contiguous() before the collective, or cut the padding off after it",
        rule=f"the log names {model.name}, hidden size {model.hidden}" if model else "",
        tags=frozenset(("collective",) if known else ("contiguous",)),
        tries=flags(
            facts,
            around,
            f"--models {model_without_widths(facts, around)} --tp {max(ranks, 2)} --modes eager,compiled",
        ),
    )


def _cut(facts: Facts) -> str:
    """In words, the slice that a caller's line gives to the collective; empty where none shows one."""
    frame = next((frame for frame in reversed(facts.users) if CUT.search(frame.code)), None)
    found = _SLICE.search(frame.code) if frame else None
    return f": {found[0]}, in {frame.file}:{frame.line}" if frame and found else ""


def _collective(facts: Facts) -> str:
    """The collective that the user's line calls, else the one that the text names; an all-reduce where it names none."""
    found = _CALLS.search(f"{facts.function} {facts.code}") or _CALLS.search(facts.whole)
    return found[0].lower().replace("_", "-").replace("allreduce", "all-reduce") if found else "all-reduce"
