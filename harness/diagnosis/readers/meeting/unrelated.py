"""Two sizes that padding does not explain, or need not: attention, vocabularies, halves, shards, chance."""

import re

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.relations import relation
from harness.diagnosis.readers.meeting.topics import speaks_of, spoken
from harness.diagnosis.readers.pairs import speaks, widths
from harness.diagnosis.widths import Pair

_MOST_HEADS, _LARGEST_HEAD = 128, 576
_COMPLEX = re.compile(r"complex(?:32|64|128)|view_as_(?:real|complex)|torch\.c(?:half|float|double)\b")
_POSITIONS = re.compile(
    r"pos(?:ition(?:al|s)?)?s?_?(?:emb|enc|table|ids)|\bwpe\b|patch_?emb|\bpatches\b|token_type_emb", re.I
)


def attended(facts: Facts, pair: Pair, dim: int | None) -> Reading:
    """Two sizes in attention, or in a dimension that no activation of a layer with experts has."""
    what = (
        "The user's line is of attention"
        if facts.in_attention
        else f"Dimension {dim} is of a tensor with heads or a batch"
    )
    if "parts" in facts.match.groups:
        what += ", and a width was split into parts"
    rounds = bool(pair.padded and pair.hidden_owners) and (dim or 0) < 3
    either = f"; or {pair.rounded()}, the padding of hidden_states that came there" if rounds else ""
    return Reading(
        verdict=UNDECIDED if rounds or (speaks(facts) and not facts.in_attention) else OTHER,
        stage="attention" if facts.in_attention else "",
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. {what}: "
        f"{_lengths(facts, pair, dim)}{_heads(pair)}{_parts(facts, pair)}{either}.{spoken(facts)}",
        against=() if rounds else (f"padding of an expert's width: it has no place in that line{_fits_too(pair)}",),
        look="the shapes of both at the user's line; who made the mask, the positions or the cache, and for which length",
        widths=widths(pair, padded=False),
        rule=pair.rounded() if rounds else "no rule",
        tags=frozenset(("attention",)),
    )


def of_positions(facts: Facts, dim: int | None) -> bool:
    """Whether the user's line names positions or patches, and nothing in the text is of experts, padding or a third dimension."""
    return (dim or 0) < 2 and bool(_POSITIONS.search(facts.code)) and not speaks(facts)


def placed(facts: Facts, pair: Pair) -> Reading:
    """Two sizes in a sum with positions: how many there are of them, and how many the table was made for."""
    return Reading(
        verdict=OTHER,
        stage="a sum with positions",
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. The user's line names positions or patches: most "
        "likely there are more or fewer of them than their table was made for, as for an image or a text of another length; or, "
        "where the tensors have two dimensions, the table is of another width.",
        against=(f"padding of an expert's width: it has no place in that line{_fits_too(pair)}",),
        look="the shapes of both at the user's line; the configuration's image size, patch size or greatest length",
        widths=widths(pair, padded=False),
        rule="no rule",
        tags=frozenset(("positions",)),
    )


def _lengths(facts: Facts, pair: Pair, dim: int | None) -> str:
    if "parts" in facts.match.groups:
        return "queries, keys and values side by side, of other numbers of heads or ranks than the layer was made for"
    return f"these may be lengths of sequences, of a mask or a cache{_head(pair, dim)}"


def _head(pair: Pair, dim: int | None) -> str:
    """In words, that the last of four dimensions may have the size of a head; empty elsewhere and for larger sizes."""
    sized = (dim or 0) > 2 and pair.wide > _MOST_HEADS and pair.narrow <= _LARGEST_HEAD
    return ", or sizes of a head, as where layers of two kinds or a rotary table differ" if sized else ""


def _heads(pair: Pair) -> str:
    if pair.wide <= _MOST_HEADS:
        return ", numbers of heads, or the size of a head"
    if not pair.heads:
        return ""
    few, many, size = pair.heads
    return f", or numbers of heads ({pair.narrow} = {few} x {size} and {pair.wide} = {many} x {size})"


def _parts(facts: Facts, pair: Pair) -> str:
    """In words, that two are the parts of a complex number; empty where the text has none."""
    return ", or the two parts of complex numbers" if pair.narrow == 2 and _COMPLEX.search(facts.whole) else ""


def _fits_too(pair: Pair) -> str:
    return f", though {pair.rounded()} fits" if pair.possible else ""


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
        against=(_not_padding(pair, kind),),
        look="the shapes of both at the user's line; the model's configuration (heads, ranks, quantisation)",
        widths=widths(pair, padded=False),
        rule="no rule" if kind in ("nothing", "other-width") else says,
        tags=frozenset((kind,)),
    )


def _not_padding(pair: Pair, kind: str) -> str:
    if kind == "vocabulary":
        return "padding of an expert's width: none is as large"
    if kind == "chance":
        return "padding of an expert's width: the text names no layer with experts"
    if kind == "rank-share":
        return "padding alone: no alignment makes one of the other"
    if pair.possible:
        return f"padding: {pair.rounded()} fits too, and is the less likely"
    return "padding: no alignment makes one of the other"
