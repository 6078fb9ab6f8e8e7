"""A quantised weight that is stored flat, beside the parameter of full shape that it was to be loaded into."""

from math import prod

from harness.diagnosis.diagnosis import OTHER, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes

# In words, what is stored where one tensor has so many times the elements of the other.
_STORED = {
    1: "the same elements in another shape",
    2: "two values of 4 bits a byte",
    4: "four values a word",
    8: "eight values of 4 bits an int32",
}
# A column of bytes is longer than any width.
_LONG = 100_000


def flat_weight(facts: Facts) -> Reading | None:
    """The reading of a message with the two shapes, of which one is a column of bytes; None for other messages."""
    groups = facts.match.groups
    shapes = [sizes(groups.get(name, "")) for name in ("a_shape", "b_shape")]
    if not all(shapes) or not all(size.isdigit() for shape in shapes for size in shape):
        return None
    full, flat = sorted(
        (tuple(map(int, shape)) for shape in shapes), key=lambda shape: min(shape) == 1 or len(shape) == 1
    )
    few = prod(flat)
    if (
        few < _LONG
        or max(flat) != few
        or max(full) == prod(full)
        or prod(full) % few
        or prod(full) // few not in _STORED
    ):
        return None
    times = prod(full) // few
    return Reading(
        verdict=OTHER,
        stage="load of the weights",
        cause=f"A weight of {few} elements in one column meets one of {' x '.join(map(str, full))} = {prod(full)}: "
        f"{_STORED[times]}. One of the two is quantised and stored flat, the other is not: the checkpoint's quantisation is not the "
        "one that this layer was made with.",
        against=("padding: the numbers of elements agree once they are unpacked",),
        look="the checkpoint's quantisation beside the one that was asked for, and the layers that either leaves out",
        widths=(Width(full[-1], False, ()),),
        rule=f"{prod(full)} = {times} x {few}",
        tags=frozenset(("flat",)),
    )
