"""Two sizes that padding does not explain, or need not: attention, vocabularies, halves, shards, chance."""

import re
from dataclasses import replace

from harness.diagnosis.code import operations
from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.relations import SIDE_BY_SIDE, relation
from harness.diagnosis.readers.meeting.topics import speaks_of, spoken
from harness.diagnosis.readers.pairs import NO_FAKE, speaks, widths
from harness.diagnosis.readers.weights.side_by_side import side_by_side
from harness.diagnosis.widths import Pair

_OF_EXPERTS = re.compile(r"shared|rout(?:ed|er_out)|expert|\bmoe|\[(?:e|eid|idx)\]|\bw(?:1|2|3|13)\b", re.I)
_LOOK = "the shapes of both at the user's line; the model's configuration (heads, ranks, quantisation)"
_HIDDEN_STATES = "which tensors are concatenated before the user's line, and for which models that weight was made"


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


def beyond(facts: Facts, pair: Pair, product: bool = False) -> Reading | None:
    """A line of experts where a size is a sixth wider at most than a width of a model that the text names; None for all others.

    In an add that is the hidden size. No rule known here makes the one of the other.
    """
    of = pair.exact_owners if product else pair.hidden_owners
    own = [str(owner) for owner in of if owner.model in facts.named]
    meets = product or bool(operations(facts.code) & {"add", "add_"})
    experts = _OF_EXPERTS.search(f"{facts.function} {facts.code}") and not (facts.loads or facts.in_attention)
    if not (own and meets and experts) or pair.possible or pair.extra > 1 / 6:
        return None
    more = pair.wide - pair.narrow
    return Reading(
        verdict=UNDECIDED,
        stage="a product of an expert's weight" if product else "add of what the experts gave",
        cause=f"{pair.wide} is {more} more than {pair.narrow}, the {own[0]}, at a line of experts. No rule known here makes the one "
        "of the other: perhaps padding of another amount, or a size of something else.",
        against=(NO_FAKE,),
        look="who makes a tensor of that width: how many columns its weights were given, and where they are cut off",
        widths=widths(pair, padded=False),
        rule=f"{pair.wide} = {pair.narrow} + {more}",
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
        look=_HIDDEN_STATES if kind == SIDE_BY_SIDE else _LOOK,
        widths=_widths(facts, pair),
        rule="no rule" if kind in ("nothing", "other-width") else says,
        tags=frozenset((kind,)),
    )


def _widths(facts: Facts, pair: Pair) -> tuple[Width, ...]:
    """The two sizes, those that are hidden states side by side without the models that have such a width by chance."""
    joined = {one.size: one.owners for one in side_by_side(facts, pair)}
    return tuple(replace(width, models=joined.get(width.size, width.models)) for width in widths(pair, padded=False))


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
