"""Two tensors of which one lacks a dimension that the other has: sizes that are no widths of one place."""

from harness.diagnosis.diagnosis import OTHER, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes


def read_dimensions(facts: Facts) -> Reading | None:
    """The reading of two shapes of which one is the beginning of the other; None for all others."""
    if lacks_dimension(facts):
        return other_dimensions(facts)
    groups = facts.match.groups
    shapes = [shape for shape in facts.fakes if shape] or [
        sizes(groups.get(name, "")) for name in ("a_shape", "b_shape")
    ]
    if len(shapes) != 2 or not all(shapes) or facts.loads:
        return None
    short, long = sorted(shapes, key=len)
    if len(short) == len(long) or long[: len(short)] != short or long[-len(short) :] == short:
        return None
    return Reading(
        verdict=OTHER,
        stage=facts.called,
        cause=f"The number of dimensions differs: [{', '.join(short)}] has the first sizes of [{', '.join(long)}], and sizes are "
        "compared from the last one on. A dimension of 1 is missing at its end (unsqueeze(-1)), the other is transposed, or one "
        "of the two is another tensor than the code takes it for.",
        against=("padding and widths: the first sizes agree, and a dimension is missing",),
        look="the shapes of both at the user's line",
        tags=frozenset(("dimensions",)),
    )


def lacks_dimension(facts: Facts) -> bool:
    """Whether the message has two shapes of which one is the beginning of the other, so that only a dimension is missing."""
    groups = facts.match.groups
    a, b = (sizes(groups.get(name, "")) for name in ("a_shape", "b_shape"))
    short, long = sorted((a, b), key=len)
    return bool(short) and len(short) < len(long) and long[: len(short)] == short and facts.said("indexing result")


def other_dimensions(facts: Facts) -> Reading:
    """A tensor of rows and one of a value for each row: no width is compared, one of them is the wrong tensor."""
    a, b = (sizes(facts.match.groups[name]) for name in ("a_shape", "b_shape"))
    short, long = sorted((a, b), key=len)
    missing = ", ".join(long[len(short) :])
    return Reading(
        verdict=OTHER,
        stage="indexed write",
        cause=f"The number of dimensions differs: [{', '.join(short)}] has the rows of [{', '.join(long)}] and no dimension of "
        f"{missing}. One of the two is another tensor than the code takes it for, such as token ids in place of embeddings.",
        against=("padding and widths: the rows agree, and a dimension is missing",),
        look="which tensor the user's line writes into, and on which rank or stage it holds that",
        tags=frozenset(("dimensions",)),
    )
