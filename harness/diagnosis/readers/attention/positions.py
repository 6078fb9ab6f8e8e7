"""A sum with positions or patches: how many there are, and how many their table was made for."""

import re

from harness.diagnosis.diagnosis import OTHER, UNDECIDED, Reading
from harness.diagnosis.evidence import speaks_for
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.attention.attended import fits_too
from harness.diagnosis.readers.ops.padding import fills_up
from harness.diagnosis.readers.pairs import speaks, widths
from harness.diagnosis.widths import Pair

_POSITIONS = re.compile(
    r"pos(?:ition(?:al|s)?)?s?_?(?:emb|enc|table|ids|mask)|\bwpe\b|patch_?emb|\bpatches\b|token_type_emb", re.I
)
_MORE = {
    "positions or patches": "most likely there are more or fewer of them than their table was made for, as for an image or a text of"
    " another length",
    "sequences or their lengths": "most likely the two are of sequences of other lengths, or a mask or buffer was made for another",
}
# Names of sequences and of what is made for their lengths.
_SEQUENCES = re.compile(
    r"(?:seq(?:uence)?|length|len|token|padding|key_padding)s?_?(?:mask|lens?|lengths?|buf|buffer)(?![a-z])"
    r"|max_?(?:seq_?)?len(?:gth)?(?![a-z])|\bseqs?\b|\bsequences?\b|\bn_ctx\b|\blabels\b",
    re.I,
)


def of_positions(facts: Facts, dim: int | None) -> bool:
    """Whether the user's line names positions, patches or sequences, and nothing in the line is of experts or a third dimension.

    Where the text has words of experts, of padding or of graphs, which fill sequences up, a sum with positions alone does.
    """
    sequences = not (speaks(facts) or facts.seen("replay")) and _SEQUENCES.search(facts.code)
    named = _POSITIONS.search(facts.code) or sequences
    return (dim or 0) < 2 and bool(named) and not _is_of_experts(facts)


def placed(facts: Facts, pair: Pair) -> Reading:
    """Two sizes in a sum with positions: how many there are of them, and how many the table was made for."""
    spoken = speaks(facts)
    either = f"; or {pair.rounded()}, the padding of hidden_states that came there" if spoken else ""
    names = "positions or patches" if _POSITIONS.search(facts.code) else "sequences or their lengths"
    return Reading(
        verdict=UNDECIDED if spoken else OTHER,
        stage="a sum with positions" if names.startswith("pos") else "a line of sequences",
        cause=f"Two sizes that meet do not fit, {pair.narrow} and {pair.wide}. The user's line names {names}: {_MORE[names]}; or, "
        f"where the tensors have two dimensions, the table is of another width{either}.",
        against=() if spoken else (f"padding of an expert's width: it has no place in that line{fits_too(pair)}",),
        look="the shapes of both at the user's line; the configuration's image size, patch size or greatest length",
        widths=widths(pair, padded=False),
        rule=pair.rounded() if spoken else "no rule",
        tags=frozenset(("positions",)),
    )


def _is_of_experts(facts: Facts) -> bool:
    """Whether the user's line itself is of experts, or fills columns up."""
    return speaks_for("shared", facts.code) or speaks_for("moe", facts.code) or fills_up(facts.code)
