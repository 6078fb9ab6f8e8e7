"""Two sizes that meet in attention: lengths of sequences, of masks and of caches, heads; rarely the width of hidden_states."""

import re

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.attention.lengths import has_no_width, is_of_a_cache, is_rotary, names_hidden
from harness.diagnosis.readers.meeting.topics import spoken
from harness.diagnosis.readers.ops.padding import fills_up
from harness.diagnosis.readers.pairs import speaks, widths
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.widths import Pair

_MOST_HEADS, _LARGEST_HEAD, _TOLD = 128, 576, 3
_COMPLEX = re.compile(r"complex(?:32|64|128)|view_as_(?:real|complex)|torch\.c(?:half|float|double)\b")


def attended(facts: Facts, around: Surroundings, pair: Pair, dim: int | None) -> Reading:
    """Two sizes in attention, or in a dimension that no activation of a layer with experts has."""
    narrow = "parts" not in facts.match.groups and has_no_width(facts)
    here = facts.in_attention or narrow
    rounds = bool(pair.padded and pair.hidden_owners) and (dim or 0) < 3 and not narrow and _may_be_hidden(facts)
    either = f"; or {pair.rounded()}, the padding of hidden_states that came there" if rounds else ""
    return Reading(
        verdict=UNDECIDED if rounds or (speaks(facts) and not here) else OTHER,
        stage="attention" if here else "",
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. {_what(facts, dim)}: "
        f"{_lengths(facts, pair, dim)}{_heads(pair)}{_parts(facts, pair)}{either}.{_told(around, pair)}{spoken(facts)}",
        against=() if rounds else (f"padding of an expert's width: it has no place in that line{fits_too(pair)}",),
        look="the shapes of both at the user's line; who made the mask, the positions or the cache, and for which length",
        widths=widths(pair, padded=False),
        rule=pair.rounded() if rounds else "no rule",
        tags=frozenset(("attention",)),
    )


def _may_be_hidden(facts: Facts) -> bool:
    """Whether hidden_states may have come there: by a tensor of that width at the line, or by words of experts or padding."""
    return not facts.in_attention or names_hidden(facts.code) or fills_up(facts.code) or speaks(facts)


def _what(facts: Facts, dim: int | None) -> str:
    """In words, what the user's line is of, else where the sizes meet."""
    if "parts" in facts.match.groups and facts.in_attention:
        return "The user's line is of attention, and a width was split into parts"
    if is_rotary(facts):
        return "By its names the user's line turns queries or keys by their positions (rotary)"
    if is_of_a_cache(facts) and not facts.in_attention:
        return "The user's line is of a cache of keys and values"
    if facts.in_attention or has_no_width(facts):
        return "The user's line is of attention"
    split = ", and a width was split into parts" if "parts" in facts.match.groups else ""
    return f"Dimension {dim} is of a tensor with heads or a batch{split}"


def _told(around: Surroundings, pair: Pair) -> str:
    """In words, which of the two the text has as a length, of a prompt, a table or a cache; empty where it has none."""
    named = [f"{name}={size}" for name, size in around.lengths.items() if size in (pair.narrow, pair.wide)]
    return f" The text has {' and '.join(named[:_TOLD])}, as lengths are named." if named else ""


def _lengths(facts: Facts, pair: Pair, dim: int | None) -> str:
    if "parts" in facts.match.groups:
        return "queries, keys and values side by side, of other numbers of heads or ranks than the layer was made for"
    if is_rotary(facts) and pair.narrow > _MOST_HEADS and has_no_width(facts):
        return f"most likely there are more or fewer positions than the table was made for{_head(pair, dim)}"
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


def fits_too(pair: Pair) -> str:
    """In words, that an alignment makes one of the other; empty where none does."""
    return f", though {pair.rounded()} fits" if pair.possible else ""
