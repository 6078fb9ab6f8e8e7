"""Scales of quantised weights: a reshape whose last sizes count blocks or halves of a padded width, and a product with them."""

import re
from math import prod

from harness.diagnosis.code import operations
from harness.diagnosis.diagnosis import Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.meeting.adds import not_heads
from harness.diagnosis.readers.meeting.topics import speaks_of
from harness.diagnosis.readers.pairs import NO_FAKE, evident, modes, padded
from harness.diagnosis.statements.products import scaled_side, scales_in
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import checks
from harness.diagnosis.widths import Pair, read_pair

# How many values of a row have one scale, the rarest last; and gate and up side by side.
_BLOCKS = (32, 16, 128)
# What rows of swizzled scales are filled up to.
_TILE = 128
_PRODUCTS = frozenset(("mul", "mul_", "div", "div_"))
_NORMS = re.compile(r"norm", re.I)


def padded_parts(want: tuple[str, ...], elements: str) -> list[str]:
    """In words, each size of a shape that would be one of a padded model's, if it alone were wrong; empty where none is."""
    if not elements.isdigit() or not all(size.isdigit() and int(size) for size in want):
        return []
    whole, found = prod(map(int, want)), []
    for place, size in enumerate(map(int, want)):
        right, rest = divmod(int(elements) * size, whole)
        if place and not rest and right not in (0, size):
            found += _ways(size, right)
    return found


def _ways(size: int, right: int) -> list[str]:
    """In words, how one of two sizes comes of the other where they count blocks, or halves."""
    blocks = [
        f"{right} for {size}, where they count blocks of {block}: {pair.rounded()}"
        for block in _BLOCKS
        if _of_a_model(pair := read_pair(size * block, right * block))
    ]
    halves = []
    if size % 2 == right % 2 == 0 and _of_a_model(pair := read_pair(size // 2, right // 2)):
        halves = [f"{right} for {size}, where they are gate and up as one: {pair.rounded()}"]
    return blocks[:1] + halves


def _of_a_model(pair: Pair) -> bool:
    return pair.known and bool(pair.rules) and pair.extra <= 1 / 6


def read_scaled(facts: Facts, around: Surroundings, pair: Pair, first: int, dim: int | None) -> Reading | None:
    """A quantised weight and its scales that have not as many rows or columns; None where the line is of no such product."""
    done = operations(facts.code)
    if facts.loads or facts.in_attention or not done or not done <= _PRODUCTS or not pair.possible:
        return None
    if not scales_in(facts.code, speaks_of("scales", facts)) or _NORMS.search(f"{facts.function} {facts.code}"):
        return None
    tiled = _TILE in [alignment.multiple for alignment in pair.alignments]
    if not pair.padded and not (dim == 0 and tiled):
        return None
    side = scaled_side(facts.code)
    scales = None if side is None else (first, pair.narrow + pair.wide - first)[side]
    differ = "have not as many rows" if dim == 0 else "differ in a width"
    tile = (
        f" A layout of scales that kernels read swizzled has its rows filled up to whole tiles of {_TILE}."
        if dim == 0 and tiled and scales != pair.narrow
        else ""
    )
    return padded(
        pair,
        sure=evident(facts, pair),
        stage="scaling by block scales (dequantisation)",
        operands=(
            f"{pair.narrow}: at the true size{_of(scales, pair.narrow)}",
            f"{pair.wide}: padded{_of(scales, pair.wide)}",
        ),
        cause=f"The scales and what they scale {differ}: {pair.rounded()}. {_cause(scales, pair)}{tile}",
        against=(NO_FAKE, *not_heads(pair)),
        look="the shapes of the scales and of the weight at the user's line; who pads or swizzles the scales, and who cuts that off",
        tries=checks(facts, around, pair, modes(facts), shared=False),
    )


def _of(scales: int | None, size: int) -> str:
    if scales is None:
        return ""
    return " (the scales)" if scales == size else " (what they scale)"


def _cause(scales: int | None, pair: Pair) -> str:
    if scales == pair.wide:
        return "The scales are the padded ones, and their padding was not cut off before the product."
    if scales == pair.narrow:
        return "What they scale is padded, and the scales are not."
    return "One of the two is padded, as scales are for a kernel, and that was not cut off before the product."
