"""Twins: cases of two models whose layer has the same sizes. One of them is judged where a layer is made from its sizes alone."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

from harness.matrix.case import Case
from harness.matrix.modes import ModeInfo

# What a case says of its model besides the sizes of its layer. The shape's own sizes are those before shrinking.
_OF_THE_MODEL = ("shape", "overridden", "small_of")
_OF_THE_LAYER = tuple(field.name for field in fields(Case) if field.name not in _OF_THE_MODEL)


def sizes(case: Case) -> tuple[object, ...]:
    """All that the layer of a case is made from where its model's name and its published sizes are not looked at."""
    published = case.published()  # where the small widths cannot be built, these are judged
    return (
        *(getattr(case, name) for name in _OF_THE_LAYER),
        *(case.latent, case.gated, case.activation, case.path),
        *(bool(case.small_of), published.hidden, published.latent),
    )


def twins(tasks: Sequence[tuple[Case, ModeInfo]], wanted: Iterable[int]) -> dict[int, int]:
    """Of the wanted tasks each whose layer an earlier one has in the same mode, and that earlier one, by their index."""
    first: dict[object, int] = {}
    found = {}
    for index in wanted:
        case, mode = tasks[index]
        other = first.setdefault((sizes(case), mode), index)
        if other != index:
            found[index] = other
    return found
