"""Numbers of rows that differ: a batch of tokens, and the captured size that it is filled up to."""

import re
from dataclasses import replace

from harness.diagnosis.code import operations
from harness.diagnosis.diagnosis import FAMILY, OTHER, UNDECIDED, Diagnosis, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.topics import speaks_of
from harness.diagnosis.readers.pairs import speaks
from harness.diagnosis.surroundings import Surroundings

_LARGEST = 4096
_MOST_SHARED, _FEWEST_EXPERTS = 4, 8
_EXPERTS = re.compile(r"expert|\bmoe\b", re.I)
_FLAT = 32_768
_RANKS = (2, 4, 8, 16, 32, 64)
_TOKENS = re.compile(r"tokens?(?![a-z_]*iz)", re.I)
# Names of a number of tokens, and of what was filled up.
_COUNTS = re.compile(r"(?:num|n|nr|actual|real)_(?:\w+_)?tok|padded|\bpad_", re.I)
# What is made for each request or token beside the batch itself.
_METADATA = re.compile(
    r"seq_?lens|metadata|num_reqs|block_tables?\b|slot_mapping|req_(?:pool|ids)|cu_seqlens|query_start", re.I
)
_ACTIVATIONS = re.compile(r"resid|hidden|routed|shared|expert|\bout(?:put)?\b")
_GRAPHS = re.compile(r"graph|replay|bucket|captured", re.I)
# In the whole text "graph" alone is no sign: a graph break has its own page in each text of Dynamo.
_OF_GRAPHS = re.compile(
    r"(?:decode|capture|captured)[ _-]graph|graph[ _-](?:batch|rows|replay|size|bs)\b|padded_bs", re.I
)
_NOT_WIDTHS = "padding of widths: dimension 0 counts rows"


def counts_rows(diagnosis: Diagnosis) -> bool:
    """Whether the two sizes of a failure are numbers of rows, and no widths."""
    return _NOT_WIDTHS in diagnosis.against


def is_bucket(few: int, many: int) -> bool:
    """Whether ``many`` rows is what a batch of ``few`` is filled up to: a power of two, or the next multiple of 4, 8 or 16."""
    power = 1 << max(0, few - 1).bit_length()
    return few < many <= _LARGEST and many in (power, *(-(-few // step) * step for step in (4, 8, 16)))


def rows(facts: Facts, a: int, b: int) -> Reading:
    """Two numbers of rows in a message of torch's own."""
    few, many = sorted((a, b))
    if not is_bucket(few, many):
        flat = ", or of elements of a flattened tensor," if few > _FLAT else ""
        split = (
            " The lengths that a tensor is split by are those of other rows than it has."
            if "parts" in facts.match.groups
            else ""
        )
        says = (
            f"Numbers of rows{flat} differ, {few} and {many}.{split}{_scattered(few, many)}{_experts(facts, few, many)}"
        )
        return _other(says, few, many, OTHER)
    if speaks_of("sequence parallelism", facts):
        return _shared_out(few, many)
    named = speaks(facts) or _TOKENS.search(facts.whole) or "hidden_states" in facts.whole
    if not (named or _of_graphs(facts) or _METADATA.search(facts.code)):
        # By chance most small numbers are such a pair: without a word of graphs or tokens it is no sign of this family.
        says = (
            f"Numbers of rows differ, {few} and {many}: two batches of other origin, or one that was filled up. "
            f"No word that is known here decides it.{_scattered(few, many)}"
        )
        return _other(says, few, many, OTHER)
    return _filled(facts, few, many, _of_graphs(facts) or _COUNTS.search(facts.code) is not None)


def _scattered(few: int, many: int) -> str:
    """In words, over how many ranks one side may have been split; empty where that is no number of ranks."""
    ranks = many // few if many % few == 0 else 0
    if ranks not in _RANKS:
        return ""
    split = f"one side was split over {ranks} ranks (reduce-scatter, a shard) and the other was not"
    return f" {many} is {ranks} x {few}: perhaps {split}, or one has {ranks} parts joined of which the other has one."


def _experts(facts: Facts, few: int, many: int) -> str:
    """In words, that the two may be numbers of experts, a few of them shared; empty where the text names none."""
    if many - few > _MOST_SHARED or few < _FEWEST_EXPERTS or not _EXPERTS.search(facts.whole):
        return ""
    shared = "a shared one" if many - few == 1 else f"{many - few} shared ones"
    return f" Or numbers of experts: {few} routed ones, and these with {shared} that were fused into the same weight."


def _of_graphs(facts: Facts) -> bool:
    """Whether the text has words of graphs, or the user's line has a name of one, and nowhere that they are off."""
    return not facts.stated.settings.graphs_off and (
        facts.seen("replay")
        or bool(_OF_GRAPHS.search(facts.whole))
        or bool(_GRAPHS.search(f"{facts.function} {facts.code}"))
    )


def _shared_out(few: int, many: int) -> Reading:
    """Rows of a batch that is split over ranks."""
    ranks = [step for step in (2, 4, 8, 16) if -(-few // step) * step == many]
    says = f"{many} is {few} rounded up to {', or to '.join(map(str, ranks))}" if ranks else "it may be a rank's share"
    return Reading(
        verdict=UNDECIDED,
        stage="rows of a batch that is split over ranks",
        cause=f"Numbers of rows differ, {few} and {many}. The text has words of sequence parallelism, which fills the rows up to a "
        f"multiple of the ranks ({says}): perhaps they were not cut off after the gather. Or a graph's bucket was filled up.",
        against=(_NOT_WIDTHS,),
        look="the gather at the user's line, and whether it cuts off the rows that were added before the split",
        widths=(Width(few, False, (), rows=True), Width(many, bool(ranks), (), rows=True)),
        rule=says if ranks else "no rule",
        tags=frozenset(("ranks",)),
    )


def read_rows(facts: Facts, around: Surroundings) -> Reading:
    """A kernel's check of the number of rows against metadata."""
    found = [m.groups for m in (facts.match, *facts.texts.every(facts.match)) if {"want", "got"} <= m.groups.keys()]
    numbers = [(int(g["want"]), int(g["got"])) for g in found if g["want"].isdigit() and g["got"].isdigit()]
    if not numbers:
        return Reading(
            verdict=UNDECIDED,
            cause="A kernel counts other rows than its metadata says.",
            look="the numbers in the message",
        )
    want, got = numbers[0]
    few, many = sorted(numbers[0])
    if is_bucket(few, many):
        sure = _of_graphs(facts)
        filled = _filled(facts, few, many, sure)
        return filled if sure else replace(filled, title="two numbers of rows in a kernel's check")
    says = f"A kernel expects {want} rows and is given {got}. That is not what a batch of {few} is filled up to."
    return _other(says, few, many, UNDECIDED)


def _filled(facts: Facts, few: int, many: int, sure: bool = True) -> Reading:
    graph = _of_graphs(facts)
    to = " to the captured size" if graph or not facts.code else ""
    maybe = "" if sure else "Perhaps: t"
    chance = (
        ""
        if sure
        else " No word of graphs that is known here is in these lines, so two batches of other origin are possible too."
    )
    return Reading(
        verdict=FAMILY if sure else UNDECIDED,
        stage=("replay" if graph else "a batch that is filled up") + _of_what(facts),
        operands=(f"{many} rows: the batch, filled up", f"{few} rows: what was made for the real tokens"),
        cause=f"{maybe or 'T'}he rows are filled up{to}, {many} for a batch of {few}, and the other side is of "
        f"the {few} real ones.{chance}",
        against=(_NOT_WIDTHS, "an error of the capture: it is the kernel's own check of the sizes that it is given"),
        look="metadata made for the filled batch, or a kernel that is told the real number of rows",
        widths=(Width(few, False, (), rows=True), Width(many, True, (), rows=True)),
        rule=f"{many} = bucket of {few}",
        tags=frozenset(("bucket", "replay") if graph else ("bucket",)),
        tries=(f"harness check --modes cudagraph-dynamic --tokens {few}",),
    )


def _of_what(facts: Facts) -> str:
    """In words, what the rows are of: those of two activations where the user's line adds or multiplies them, else metadata."""
    meets = operations(facts.code) & {"add", "sub", "mul"} and not _METADATA.search(facts.code)
    return (
        ", rows that meet at the user's line" if meets and _ACTIVATIONS.search(facts.code) else ", metadata per token"
    )


def _other(says: str, few: int, many: int, verdict: str) -> Reading:
    return Reading(
        verdict=verdict,
        stage="rows of a batch, or dimension 0 of other tensors",
        cause=says,
        against=(_NOT_WIDTHS,),
        look="who made each of the two tensors, and for which batch",
        widths=(Width(few, False, (), rows=True), Width(many, False, (), rows=True)),
        rule="no rule" if verdict == OTHER else "",
        tries=(f"harness check --modes cudagraph-dynamic --tokens {few}",) if verdict != OTHER else (),
    )
