"""Memory faults and assertions on the device: reported late, so the place in the text may not be the one."""

import re

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.device.assertions import asserted, launched, told, waits
from harness.diagnosis.readers.device.filling import NOT_TOLD
from harness.diagnosis.readers.device.sanitizer import NAMED, is_of_experts, is_report, kernels_in, read_named, some
from harness.diagnosis.readers.ops.padding import fills_up, line_of
from harness.diagnosis.surroundings import Surroundings

_REPLAYS = re.compile(
    r"\.replay\(|[Gg]raph[_ ][Rr]eplay|\bin replay\b|GraphLaunch|replay(?:ing|ed)? (?:of )?(?:a |the )?(?:CUDA |cuda )?graph"
)
# Words of ids that a kernel indexes by.
_OF_IDS = re.compile(r"topk_?ids|expert_?ids?|expert_map|sorted_(?:token_)?ids|moe_align|\bids\b")
_OF_EXPERTS = re.compile(r"expert|moe", re.I)
_CAPTURES = re.compile(r"\bcapture\w*|_capture\w*|graph_capture")
_OUTSIDE = "A kernel read or wrote memory that is not its own."
_LATE = "CUDA reports it late: the line in the text may be another than the kernel's (CUDA_LAUNCH_BLOCKING=1)."
_NO_LINE = "The text has no line of the code that launched it: CUDA_LAUNCH_BLOCKING=1 names it."
_IDS = "expert id -1 or ids out of range in rows that fill a batch, used as an index"
_TILES = "a width that is no multiple of the kernel's tiles, so that a repack reads weights or scales beyond their end"
_OF_VOCABULARY = re.compile(r"vocab|embed_tokens|word_embed|\bwte\b|tok_emb", re.I)
_PREPARES = re.compile(r"process_weights|prepare_\w*(?:moe|layer|weight)|repack|permute_scales|process_scales")
_FILLED = "a batch of made-up rows whose logits are no numbers, so that the top-k repeats an expert or gives none"
_MEMORY = "memory that a captured graph reads and that was freed or replaced since"
_TELL = "the text alone does not tell these causes apart; CUDA_LAUNCH_BLOCKING=1 and compute-sanitizer do"
_TELL_NAMED = "the text alone does not tell these causes apart; the ids and the sizes that the kernel was given do"
_GRAPHS = "the same run with graphs off (enforce_eager, --disable-cuda-graph): gone means the graph's memory or its padded rows"
_RANGE = (
    "CUDA_LAUNCH_BLOCKING=1 for the kernel; the least and the greatest of the ids there, against the number of experts"
)


_RANGE_CALL = "the least and the greatest index at that line, against the size of what it indexes"
_OF_EXPERT_IDS = re.compile(r"topk_?(?:ids|idx)|expert\w*_(?:ids?|idx|map)|expert_?ids?|selected_experts")
_NAMES_KERNEL = re.compile(r"^CUDA_LAUNCH_BLOCKING=1 for the kernel; ")
_SHAPES = "CUDA_LAUNCH_BLOCKING=1 for the kernel; the shapes of that layer's weights and scales on this rank, against its tiles"


def read_device(facts: Facts, around: Surroundings) -> Reading:
    """Whether the text speaks for padded rows, for a graph's memory, or for neither."""
    on_assert = facts.match.kind.id == "device-assert"
    what = asserted(facts) if on_assert else _OUTSIDE
    call = launched(facts) if on_assert else ""
    late, tell = _late(facts, around, call), NOT_TOLD if call else _TELL
    if is_report(facts):
        kernels, tell = kernels_in(facts), _TELL_NAMED
        what, late = (f"{_OUTSIDE[:-1]}: {some(kernels)}.", NAMED) if kernels else (what, late)
        if read := read_named(kernels, what):
            return read
    moe = facts.seen("moe")
    replay = facts.seen("replay") and not facts.stated.settings.graphs_off and not _captures(facts)
    if on_assert and (other := told(facts)):
        return _by_assertion(other, late)
    if on_assert and "embedding" in f"{facts.user_line} {facts.function}":
        return _in_a_table(facts, f"{what} {late}", bool(call))
    if not moe and not replay:
        return _captured(facts, f"{what} {late}") if _captures(facts) else _elsewhere(facts, f"{what} {late}")
    prepares = any(_PREPARES.search(f"{frame.function} {frame.code}") for frame in facts.frames)
    ids = moe and not prepares
    possible = [
        cause
        for cause, seen in ((_TILES, prepares), (_IDS, ids), (_FILLED, moe and _captures(facts)), (_MEMORY, replay))
        if seen
    ]
    graph = ("harness check --modes cudagraph --device cuda",) if replay else ()
    rows = "varied-contents" if facts.stated.settings.graphs_off else "cudagraph-dynamic --tokens 1,7,33"
    return Reading(
        verdict=UNDECIDED,
        stage=_stage(facts) if replay else _which(facts),
        cause=f"{what} {late} Of this family it would be: {'; or '.join(possible)}.",
        against=(
            "a width that was not cut off: that is a shape error, or wrong columns, before it is a fault",
            _of_one(tell, possible),
        ),
        look=_named_already(
            facts, _GRAPHS if replay else _SHAPES if prepares else _of_range(facts) if call else _RANGE
        ),
        tags=frozenset(_tags(facts, ids)),
        tries=(*graph, f"harness check --modes {rows} --device cuda"),
    )


def _of_one(tell: str, possible: list[str]) -> str:
    """What the text does not tell, where there is but one cause that it could."""
    return tell if len(possible) > 1 else tell.replace("these causes apart", "whether it is that")


def _of_range(facts: Facts) -> str:
    """Where to look where the user's line launches the kernel: at its indices, and what they count if their name tells."""
    perhaps = "" if _OF_EXPERT_IDS.search(facts.code) else ", where they are ids of experts"
    return f"{_RANGE_CALL} (the number of experts{perhaps})"


def _late(facts: Facts, around: Surroundings, call: str) -> str:
    """What the line in the text is worth: CUDA reports late, but an assertion of a kernel that the line launches is its own."""
    if around.blocking:
        return "The text says that CUDA_LAUNCH_BLOCKING=1 was set: then the call in the text is the one that launched the kernel."
    if call:
        return f"The line in the text launches one ({call}), so that it is most likely that call, although CUDA reports late."
    return f"{_LATE}{waits(facts)}" if facts.users else _NO_LINE


def _captures(facts: Facts) -> bool:
    """Whether the text stands in a capture or its warm-up, where no graph is replayed yet."""
    return bool(_CAPTURES.search(" ".join(frame.function for frame in facts.frames))) and not _REPLAYS.search(
        facts.whole
    )


def _by_assertion(other: tuple[str, str], late: str) -> Reading:
    says, look = other
    return Reading(
        verdict=OTHER,
        stage="a kernel on the device",
        cause=f"{says} {late}",
        against=("ids of experts: the assertion is on something else",),
        look=look,
    )


def _tags(facts: Facts, moe: bool) -> list[str]:
    """What public bugs are matched by: a graph by a call of its replay, ids of experts by their names."""
    replays = bool(_REPLAYS.search(facts.whole)) and not facts.stated.settings.graphs_off
    ids = moe and bool(_OF_IDS.search(facts.whole) or _OF_EXPERTS.search(facts.code))
    return [
        tag for tag, seen in (("moe", moe), ("replay", replays), ("captures", _captures(facts)), ("ids", ids)) if seen
    ]


def _stage(facts: Facts) -> str:
    """A replay where the text has the call of one, else no more than that graphs are named."""
    return "a replay of a CUDA graph" if _REPLAYS.search(facts.whole) else "perhaps a replay of a CUDA graph"


def _which(facts: Facts) -> str:
    """What kernel it is, as far as the text tells: one of experts by its name, or perhaps one by the words around it."""
    named = any(map(is_of_experts, kernels_in(facts)))
    return f"a kernel {'' if named else 'on the device, perhaps '}of the routed experts"


def _named_already(facts: Facts, look: str) -> str:
    """Where to look, without what would name the kernel where compute-sanitizer did."""
    if not kernels_in(facts):
        return look
    return _NAMES_KERNEL.sub("", look).replace("the ids there", "the ids that the kernel was given")


def _in_a_table(facts: Facts, what: str, launched_there: bool) -> Reading:
    its = "looks ids or positions up in a table"
    vocabulary = (
        " (the vocabulary, or a rank's part of it)"
        if _OF_VOCABULARY.search(f"{facts.user_line} {facts.function}")
        else ""
    )
    return Reading(
        verdict=OTHER,
        stage="a kernel on the device, perhaps of an embedding",
        cause=f"{what} The line in the text is an embedding's: an id or a position that is beyond its table ends so.",
        against=(
            f"ids of experts: the line in the text {its}"
            if launched_there
            else f"ids of experts, if the line in the text is the kernel's: it {its}",
        ),
        look=f"CUDA_LAUNCH_BLOCKING=1 for the line; the greatest id there against the rows of the table{vocabulary}",
    )


def _of_padding(facts: Facts) -> tuple[str, tuple[str, ...]]:
    """The verdict, and what speaks against padding, by the user's line: where that fills rows or columns up, nothing does."""
    if fills_up(line_of(facts)):
        return UNDECIDED, ()
    return OTHER, ("padding: the user's line has no word of it",) if facts.code else ()


def _captured(facts: Facts, what: str) -> Reading:
    """A fault in a run that a graph is captured of: no graph was replayed, so none of a graph's own faults is possible."""
    verdict, against = _of_padding(facts)
    return Reading(
        verdict=verdict,
        stage="a kernel on the device",
        cause=f"{what} It ran for the capture of a CUDA graph or in its warm-up: nothing was replayed yet, so that the kernel "
        "itself or what it was given is at fault.",
        against=("memory that a captured graph reads: no graph was replayed", *against),
        look="the same run without graphs (enforce_eager, --disable-cuda-graph) with CUDA_LAUNCH_BLOCKING=1, which names the call",
    )


def _elsewhere(facts: Facts, what: str) -> Reading:
    verdict, against = _of_padding(facts)
    return Reading(
        verdict=verdict,
        stage="a kernel on the device",
        cause=f"{what} Neither the message nor its frames name a MoE layer or a CUDA graph."
        + ("" if verdict == OTHER else " The user's line speaks of padding."),
        against=against,
        look="compute-sanitizer's own backtrace for the call; the sizes and the indices that the kernel was given"
        if is_report(facts)
        else "CUDA_LAUNCH_BLOCKING=1 for the line, compute-sanitizer for the kernel; for an assert on an index, ids and labels",
    )
