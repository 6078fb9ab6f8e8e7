"""The widths of a reading with the models that have each: those that the text names or fits first."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from harness.diagnosis.diagnosis import OTHER, Reading, Width
from harness.diagnosis.facts import Facts
from harness.diagnosis.known.context import Context
from harness.diagnosis.owners import Owner, owners
from harness.diagnosis.readers.meeting.topics import speaks_of
from harness.diagnosis.surroundings import Surroundings
from harness.diagnosis.tries import context_of
from harness.matrix.shapes import NVFP4_BLOCK

# A size under a name that widths have, hidden_size=8, or the number that follows their name in a sentence.
_CALLED_WIDTH = re.compile(
    r"(?:width|hidden(?:_?(?:size|dim))?|intermediate(?:_?(?:size|dim))?|d_model|features|channels|head_dim)s?"
    r"['\"]?(?: (?:is|of|to))? ?[=:(]? ?(?P<size>\d{1,2})(?![\w.])"
)

_OF_A_PAIR = 2  # widths: true and padded


def with_models(reading: Reading, facts: Facts, around: Surroundings) -> tuple[Width, ...]:
    """The widths with the models of each in an order: first those that fit what else the text says.

    Where a named model has the true width, other models that have the padded one by chance are left out. Of two pairs each
    stands for itself.
    """
    if len(reading.widths) > _OF_A_PAIR and "weight" in reading.tags:
        halves = (reading.widths[:_OF_A_PAIR], reading.widths[_OF_A_PAIR:])
        return tuple(one for some in halves for one in with_models(replace(reading, widths=some), facts, around))
    context = context_of(facts, around, [width.size for width in reading.widths])
    counted = [replace(width, counted=width.counted or _is_count(width, facts, around)) for width in reading.widths]
    told = [_allowed(_of_models(width, _telling(reading, facts, context, width)), context) for width in counted]
    if not any(context.names(width.size) for width in told if not width.padded):
        return tuple(told)
    own = {width.size: tuple(map(str, context.own(width.size))) for width in told if width.padded}
    return tuple(replace(width, models=own.get(width.size, width.models)) for width in told)


def _is_count(width: Width, facts: Facts, around: Surroundings) -> bool:
    """Whether a size is smaller than any width, and no word before it in the failure or where the log begins calls it one."""
    if width.rows or width.size >= NVFP4_BLOCK:
        return False
    return str(width.size) not in _called(facts.whole) | _called(around.start.decode("utf-8", "replace"))


@lru_cache(maxsize=2)
def _called(text: str) -> frozenset[str]:
    """The small numbers that a text calls widths."""
    return frozenset(found["size"] for found in _CALLED_WIDTH.finditer(text))


def _telling(reading: Reading, facts: Facts, context: Context, width: Width) -> Iterable[Owner] | None:
    """The owners of a true width that say something of it; None where a reader chose those that are told.

    Of sizes that are none of this family's, a half or a share is told of a model that the text names, or that has the other
    size: of so many models nearly any size is some share. Where the text speaks of adapters, a size is most often of theirs.
    """
    if not _has_any(width):
        return None
    found = context.ordered(width.size)
    if another := _is_beside_named(reading, context, width, facts):
        found = tuple(owner for owner in found if owner.model in context.named)
    if reading.verdict != OTHER or another:
        return found
    beside = {one.model for other in reading.widths if other != width for one in owners(other.size) if one.whole}
    adapted, near = speaks_of("adapters", facts), beside.union(context.named)
    return [
        owner for owner in found if owner.model in (context.named if adapted else near) or (owner.whole and not adapted)
    ]


def _is_beside_named(reading: Reading, context: Context, width: Width, facts: Facts) -> bool:
    """Whether the other size is of a model that the text names, and neither is told as padded: no other model has this one.

    A draft and its target are two models.
    """
    others = [other for other in reading.widths if other != width]
    named = any(context.names(other.size) for other in others) and not any(one.padded for one in reading.widths)
    return named and not speaks_of("draft", facts)


def _of_models(width: Width, found: Iterable[Owner] | None) -> Width:
    return width if found is None else replace(width, models=tuple(map(str, found)))


def _allowed(width: Width, context: Context) -> Width:
    """A padded width without the models that the other size of its weight excludes."""
    models = tuple(map(str, owners(width.size)))
    if not width.padded or width.models != models:
        return width
    return replace(width, models=tuple(str(owner) for owner in owners(width.size) if context.allows(owner, width.size)))


def _has_any(width: Width) -> bool:
    """Whether a true width is told with everybody who has it, and not with those that a reader chose."""
    return not width.padded and width.models == tuple(map(str, owners(width.size)))
