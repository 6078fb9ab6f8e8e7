"""What differs between a value and what compiled code was told of it: a size, the pitch of its rows, the order of its dimensions."""

import re
from dataclasses import dataclass

from harness.diagnosis.diagnosis import Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.readers.pairs import may_be_heads, names_experts, widths
from harness.diagnosis.widths import Pair, read_pair

ASSERT = re.compile(r"assert_size_stride\((?P<value>\w+), ?\((?P<sizes>[^()]*)\), ?\((?P<strides>[^()]*)\)")
_MOST_CHOICES = 32
_BLOCKS = (4, 8, 16, 32, 64, 128, 256)  # what rows are filled up to
_JOINS = re.compile(r"gate_?up|silu|swiglu|gelu|act_and_mul|w13|_glu", re.I)
_PACKS = re.compile(r"fp4|int4|w4|pack|quant", re.I)
_SMALLEST = 128  # strides below it are head dimensions or numbers of heads rather than widths


@dataclass(frozen=True, slots=True)
class Dim:
    """One dimension that the message lists: what the value has (real) and what the compiled code was told (said)."""

    real: int
    said: int
    real_stride: int | None
    said_stride: int | None
    dim: int


@dataclass(frozen=True, slots=True)
class Difference:
    """``says`` is the fact, ``cause`` the likely reason, ``rule`` what the numbers are to each other."""

    says: str
    cause: str
    rule: str
    tags: frozenset[str]
    pair: Pair | None = None
    widths: tuple[Width, ...] = ()


def dims(facts: Facts) -> list[Dim]:
    """The dimensions that the message lists, in order."""
    found: dict[tuple[int, int, int, int], Dim] = {}
    for match in (facts.match, *facts.texts.every(facts.match)):
        groups = match.groups
        if "real_shape" in groups:
            return _compared(groups)
        if {"real", "said", "dim"} <= groups.keys() and groups["real"].isdigit() and groups["said"].isdigit():
            strides = [
                int(n) if n.isdigit() else None for n in (groups.get("real_stride", ""), groups.get("said_stride", ""))
            ]
            dim = Dim(int(groups["real"]), int(groups["said"]), strides[0], strides[1], int(groups["dim"]))
            found.setdefault((dim.dim, dim.real, dim.said, dim.real_stride or 0), dim)
    return sorted(found.values(), key=lambda dim: dim.dim)


def _compared(groups: dict[str, str]) -> list[Dim]:
    """The dimensions in which two written shapes, or two written strides, differ."""
    both = zip(sizes(groups["real_shape"]), sizes(groups["said_shape"]), strict=False)
    pairs = [(place, int(a), int(b)) for place, (a, b) in enumerate(both) if a.isdigit() and b.isdigit() and a != b]
    if groups.get("what", "").startswith("Stride"):
        return [Dim(0, 0, a, b, place) for place, a, b in pairs]
    return [Dim(a, b, None, None, place) for place, a, b in pairs]


def difference(facts: Facts, listed: list[Dim]) -> Difference:
    """What differs: a size where one does, else strides."""
    last = max((dim.dim for dim in listed), default=0)
    sized = [dim for dim in listed if dim.real != dim.said]
    if sized:
        return _sized(facts, next((dim for dim in sized if dim.dim == last or dim.dim > 0), sized[0]))
    return _strided(facts, listed)


def _sized(facts: Facts, dim: Dim) -> Difference:
    says = f"size {dim.real} in dimension {dim.dim}, where the fake says {dim.said}."
    if not dim.real or not dim.said:
        return Difference(says, "One of them has no rows.", "no rule", frozenset(("rows",)))
    pair = facts.pair(dim.real, dim.said)
    side = "real-narrow" if dim.real < dim.said else "real-wide"
    if dim.dim == 0 and (pair.ratio or not pair.exact_owners):
        cause, rule = _rows(dim.real, dim.said)
        counts = tuple(Width(size, False, (), rows=True) for size in (pair.narrow, pair.wide))
        return Difference(says, cause, rule, frozenset(("rows", side)), None, counts)
    if pair.padded or (pair.possible and not pair.ratio and not may_be_heads(facts, pair)):
        wrote, said = ("true", "padded") if side == "real-narrow" else ("padded", "true")
        cause = f"The kernel wrote the {wrote} width and the fake says the {said} one: {pair.rounded()}."
        sure = pair.padded or (bool(pair.rules) and pair.extra <= 1 / 6 and facts.seen("moe"))
        if not sure:
            cause = f"Perhaps t{cause[1:]} Or the two sizes are no padding: nothing but an alignment speaks for it."
        tags = frozenset(("padded" if sure else "sizes", side))
        return Difference(says, cause, pair.rounded(), tags, pair, widths(pair, padded=sure))
    if pair.ratio == 2 and pair.narrow >= _SMALLEST:
        cause = f"{pair.wide} is 2 x {pair.narrow}: {_doubled(facts.op)}."
        rule = f"{pair.wide} = 2 x {pair.narrow}"
        return Difference(says, cause, rule, frozenset(("packed", side)), None, widths(pair, padded=False))
    cause = "No rule for padding makes one of the other."
    if pair.possible and pair.heads and not names_experts(facts):
        few, many, size = pair.heads
        cause = f"{few} and {many} attention heads of {size}, or {pair.rounded()}."
    return Difference(says, cause, "no rule", frozenset(("sizes", side)), None, widths(pair, padded=False))


def _doubled(op: str) -> str:
    """In words, what one of two widths is that is twice the other; first what the op's own name speaks of, where it does of one."""
    packed, joined = "of packed FP4 (two values a byte)", "of gate and up as one"
    if _JOINS.search(op) and not _PACKS.search(op):
        return f"most likely the width {joined}, by the op's name; or {packed}"
    if _PACKS.search(op) and not _JOINS.search(op):
        return f"most likely the width {packed}, by the op's name; or {joined}"
    return f"the width {packed}, or {joined}"


def _rows(real: int, said: int) -> tuple[str, str]:
    """Why numbers of rows differ, and by which rule: the kernel or the fake fills them up to whole blocks."""
    counts = "Dimension 0 most often counts rows"
    few, many = sorted((real, said))
    blocks = [str(block) for block in _BLOCKS if -(-few // block) * block == many]
    if not blocks and few > 1 and many % few == 0 and many // few <= _MOST_CHOICES:
        times = many // few
        choices = f"perhaps a row for each token and each of {times} experts that it chooses (top-k), or for each of {times} ranks"
        return (
            f"{counts}, and {many} is {times} x {few}: {choices}, against one for each token.",
            f"{many} = {times} x {few}",
        )
    if not blocks:
        return f"{counts}: the fake gives another number of them.", "no rule"
    filled, plain = ("the kernel", "the fake") if real == many else ("the fake", "the kernel")
    rule = f"{many} = {few} rounded up to {', or to '.join(blocks)}"
    return f"{counts}: {filled} gives them filled up to whole blocks ({rule}), and {plain} does not.", rule


def _strided(facts: Facts, listed: list[Dim]) -> Difference:
    """Sizes agree, strides do not: rows further apart, or dimensions in another order in memory."""
    off = [dim for dim in listed if dim.real_stride != dim.said_stride and dim.real_stride and dim.said_stride]
    strides = ", ".join(
        f"{dim.real_stride} in dimension {dim.dim} where the fake says {dim.said_stride}" for dim in off
    )
    says = f"the sizes agree, the strides do not ({strides or 'see the message'})."
    pair = _pitches(listed, off)
    if pair and pair.possible and not may_be_heads(facts, pair):
        return _pitched(facts, says, pair, off[0].real_stride or 0)
    if pair:
        return _apart(says, pair, off[0].real_stride or 0)
    cause = (
        "One of them has two dimensions swapped in memory: most often the fake is dense (torch.empty, empty_like) and the "
        "kernel gives a transposed or permuted view."
    )
    large = sorted({s for dim in off for s in (dim.real_stride, dim.said_stride) if s and s > _SMALLEST})
    shown = tuple(Width(size, False, (), counted=True) for size in large)
    return Difference(says, cause, _heads_rule(listed, large), frozenset(("permuted",)), None, shown)


def _pitches(listed: list[Dim], off: list[Dim]) -> Pair | None:
    """The two row pitches where nothing but the last dimension listed differs, and by more than a unit stride."""
    if len(off) != 1 or off[0].dim != max(dim.dim for dim in listed):
        return None
    real, said = off[0].real_stride or 0, off[0].said_stride or 0
    return read_pair(real, said) if min(real, said) > 1 else None


def _pitched(facts: Facts, says: str, pair: Pair, real: int) -> Difference:
    """A row pitch of the padded width on one side: a narrow tensor in a padded buffer, or a padded width."""
    if real == pair.wide:
        cause = (
            f"The kernel gives {pair.narrow} columns of rows that lie {pair.wide} apart, a view of its padded buffer, and the "
            f"fake says a dense tensor: {pair.rounded()}."
        )
        return Difference(says, cause, pair.rounded(), frozenset(("padded", "real-wide", "pitch")), pair, widths(pair))
    *_, on = (None, *ASSERT.finditer(facts.whole))  # of a listing the last one failed
    sure = on is not None and sizes(f"({on['sizes']})")[-1:] == (str(pair.wide),)
    doubt = " The fake gives the padded width, or a slice of a padded buffer, which is the rarer."
    cause = f"The kernel wrote rows of {pair.narrow} and the fake says rows of {pair.wide}: {pair.rounded()}."
    tags = frozenset(("padded", "real-narrow", "pitch"))
    return Difference(says, cause if sure else cause + doubt, pair.rounded(), tags, pair, widths(pair))


def _apart(says: str, pair: Pair, real: int) -> Difference:
    """One stride alone differs, and no alignment makes one of the other: rows of a wider tensor, or another layout."""
    dense, sliced = ("the fake", "the kernel") if real == pair.wide else ("the kernel", "the fake")
    cause = (
        f"The one stride that differs says how far rows lie apart, {pair.wide} and {pair.narrow}: most likely {sliced} gives a "
        f"slice of a wider tensor (a part of q, k and v, or half of gate and up) and {dense} a dense one."
    )
    return Difference(says, cause, "a row pitch", frozenset(("slice",)), None, widths(pair, padded=False))


def _heads_rule(listed: list[Dim], strides: list[int]) -> str:
    """2560 = 20 x 128: strides that are a number of heads times the head dimension, both of which the message has."""
    small = {n for dim in listed for n in (dim.real, dim.real_stride, dim.said_stride)}
    fits = [(stride, size) for stride in strides for size in (128, 64) if size in small and stride % size == 0]
    parts = [f"{stride} = {stride // size} x {size}" for stride, size in fits if stride // size in small]
    return f"{', '.join(parts)}: no padding" if parts else "no rule"
