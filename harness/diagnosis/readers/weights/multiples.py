"""What has exactly so many times the elements of another: first what the text itself speaks of."""

import re
from dataclasses import dataclass

from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.topics import speaks_of
from harness.diagnosis.widths import Pair

_PACKED, _JOINED, _RANKS, _SCALES, _OTHER = "packed", "joined", "ranks", "scales", "other"


@dataclass(frozen=True, slots=True)
class _Factor:
    """What has so many times the elements, and of what a text speaks that makes it the first to name."""

    of: str
    says: str


_FACTORS = {
    2: (
        _Factor(_PACKED, "two values a byte (packed FP4)"),
        _Factor(_JOINED, "gate and up as one"),
        _Factor(_OTHER, "other two joined parts"),
        _Factor(_PACKED, "4- and 8-bit weights"),
        _Factor(_RANKS, "shards of 2 ranks"),
    ),
    4: (
        _Factor(_PACKED, "four values in an int32"),
        _Factor(_RANKS, "shards of 4 ranks"),
        _Factor(_OTHER, "a hidden and a feed-forward width"),
        _Factor(_SCALES, "scales of blocks of 32 and of 128"),
    ),
    8: (
        _Factor(_PACKED, "eight values of 4 bits in an int32"),
        _Factor(_RANKS, "shards of 8 ranks"),
        _Factor(_SCALES, "scales of blocks of 16 and of 128"),
    ),
    16: (_Factor(_SCALES, "one scale for 16 values (NVFP4)"), _Factor(_RANKS, "shards of 16 ranks")),
    32: (_Factor(_SCALES, "one scale for 32 values (MXFP4, MXFP8)"), _Factor(_RANKS, "shards of 32 ranks")),
    128: (_Factor(_SCALES, "one scale for 128 values (FP8 in blocks)"),),
}
MULTIPLES = tuple(_FACTORS)
_GATED = re.compile(r"gate|\bup\b|w13|w1_w3|silu|swiglu|act_and_mul", re.I)
_LARGEST_RANK = 1024  # of an adapter


def multiple(ratio: int) -> str:
    """In words, behind a colon, what has exactly so many times another's elements; empty where nothing is known to."""
    return f": perhaps {_listed([one.says for one in _FACTORS[ratio]])}" if ratio in _FACTORS else ""


def likely(facts: Facts, pair: Pair) -> str:
    """In words, what may have as many times the elements as one size of a pair has of the other: what the text names first."""
    adapters = _adapters(facts, pair)
    if adapters and {pair.narrow, pair.wide} <= facts.stated.adapters:
        return adapters
    known = sorted(_FACTORS[pair.ratio], key=lambda one: not _is_named(one, facts, pair))
    return _listed([*([adapters] if adapters else []), *(one.says for one in known)])


def _is_named(factor: _Factor, facts: Facts, pair: Pair) -> bool:
    if factor.of == _RANKS:
        return facts.stated.ranks == pair.ratio
    if factor.of == _JOINED:
        return bool(_GATED.search(f"{facts.function} {facts.code}"))
    return factor.of != _OTHER and speaks_of(factor.of, facts)


def _adapters(facts: Facts, pair: Pair) -> str:
    """In words, that the sizes are ranks of adapters; empty where the text speaks of none, or a size is too large for one."""
    if pair.wide > _LARGEST_RANK or not speaks_of("adapters", facts):
        return ""
    told = facts.stated.adapters & {pair.narrow, pair.wide}
    both = "the text has both as such" if len(told) > 1 else f"the text has {min(told)} as one" if told else ""
    return f"ranks of adapters ({both or 'its own, and the one that room was made for'})"


def _listed(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])}{',' if len(parts) > 2 else ''} or {parts[-1]}" if len(parts) > 1 else parts[0]
