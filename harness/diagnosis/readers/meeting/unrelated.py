"""Two sizes that padding does not explain, or need not: attention, vocabularies, halves, shards, chance."""

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.relations import relation
from harness.diagnosis.readers.meeting.topics import speaks_of, spoken
from harness.diagnosis.readers.pairs import speaks, widths
from harness.diagnosis.widths import Pair


def in_blocks(pair: Pair, size: int, of: Pair) -> Reading:
    """Two small sizes that count the blocks of a width and of that width padded."""
    return Reading(
        verdict=UNDECIDED,
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. Where they count blocks of {size}, as the scales "
        f"of quantised weights do, they are {of.narrow} and {of.wide}: {of.rounded()}. Or they are numbers of another origin.",
        against=("a fake: two real tensors meet, or two fake ones while tracing",),
        look="the shapes of both at the user's line; whether the scales were padded as the weights were",
        widths=widths(pair, padded=False),
        rule=f"blocks of {size}: {of.rounded()}",
        tags=frozenset(("blocks",)),
    )


def unrelated(facts: Facts, pair: Pair, what: str = "Two sizes that meet", dim: int | None = None) -> Reading:
    """Two sizes that padding does not explain: what else the numbers say. ``dim`` is where they meet, None if unknown."""
    kind, says = relation(facts, pair, dim)
    more = "" if kind == "vocabulary" and speaks_of("vocabulary", facts) else spoken(facts)
    return Reading(
        verdict=OTHER,
        stage="load of the weights" if facts.loads_weights else "",
        cause=f"{what} do not fit, {pair.narrow} and {pair.wide}. {says}.{more}",
        against=(_not_padding(facts, pair, kind),),
        look="the shapes of both at the user's line; the model's configuration (heads, ranks, quantisation)",
        widths=widths(pair, padded=False),
        rule="no rule" if kind in ("nothing", "other-width") else says,
        tags=frozenset((kind,)),
    )


def _not_padding(facts: Facts, pair: Pair, kind: str) -> str:
    if kind == "vocabulary":
        return "padding of an expert's width: none is as large"
    if kind == "chance":
        return "padding of an expert's width: these lines name no layer with experts"
    if kind == "rank-share":
        return "padding alone: no rule known here makes one of the other"
    if pair.possible and speaks(facts):
        return f"padding: {pair.rounded()} fits too, and nothing at the user's line speaks for it"
    return pair.unlikely()
