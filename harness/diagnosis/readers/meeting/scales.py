"""A reshape of a weight's scales or of gate and up as one, whose last sizes count blocks or halves of a padded width."""

from math import prod

from harness.diagnosis.widths import Pair, read_pair

# How many values of a row have one scale, the rarest last; and gate and up side by side.
_BLOCKS = (32, 16, 128)


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
