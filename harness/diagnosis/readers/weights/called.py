"""A line that calls several projections: which of them a product is of, by the sizes of its weight."""

import re
from collections.abc import Callable

from harness.diagnosis.facts import Facts
from harness.diagnosis.notation import sizes
from harness.diagnosis.owners import Owner, owners
from harness.diagnosis.statements.names import FIRST, GATE, SECOND, projection_of

_CALLED = re.compile(r"(?<!\w)(?:self|layer|expert|mlp|m)\.(?:\w+\.)*(?P<name>\w+)\(")
_INNER = re.compile(r"intermediate size")
_OUTER = ("hidden size", "latent size")


def by_sizes(facts: Facts, code: str) -> str:
    """The projections that a line calls, where they are several: the one whose weight has such sizes, else each of them.

    Empty for a line that calls one or none. The second projection takes an intermediate size, the others a hidden one.
    """
    called = dict.fromkeys(projection_of(found["name"]) for found in _CALLED.finditer(code))
    parts = [part for part in (FIRST, GATE, SECOND) if part in called]
    if SECOND not in parts or len(parts) < 2:
        return ""
    inner, outer = _weight(facts)
    takes_hidden, takes_inner = _joins(inner, outer, _is_outer, _is_inner), _joins(inner, outer, _is_inner, _is_outer)
    if takes_hidden == takes_inner:
        return " or ".join(parts)
    return SECOND if takes_inner else " or ".join(part for part in parts if part != SECOND)


def _weight(facts: Facts) -> tuple[list[int], int]:
    """The inner sizes of a product, of which one is the weight's, and the weight's other size; 0 where the text lacks it."""
    groups = facts.match.groups
    right = sizes(groups.get("b_shape", "")) or (groups.get("b", ""), groups.get("n", ""))
    left = (sizes(groups.get("a_shape", "")) or (groups.get("k", groups.get("a", "")),))[-1]
    inner = [int(size) for size in (left, right[0]) if size.isdigit()]
    return inner, int(right[-1]) if right[-1].isdigit() else 0


def _joins(inner: list[int], outer: int, takes: Callable[[Owner], bool], gives: Callable[[Owner], bool]) -> bool:
    """Whether some model has one of the inner sizes as the one and the outer size as the other."""
    models = {owner.model for size in inner for owner in owners(size) if takes(owner)}
    return any(owner.model in models and gives(owner) for owner in owners(outer))


def _is_inner(owner: Owner) -> bool:
    return bool(_INNER.search(owner.part))


def _is_outer(owner: Owner) -> bool:
    return owner.part in _OUTER
