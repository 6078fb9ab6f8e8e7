"""Lines at which a failure is sure to be."""

from functools import lru_cache

from harness.diagnosis.known.kinds import first_match, triggers
from harness.diagnosis.log.forms import FRAME, QUIET, TALK, in_one_line, is_exception
from harness.diagnosis.log.lines import Line

_TRIGGERS = tuple(triggers().items())
_SHORT = 1000  # what is remembered


def is_anchor(line: Line, triggered: bool, hits: tuple[int, ...] | None = None) -> bool:
    """Whether a failure is sure to be here: an exception's own line, or a text that a kind knows.

    ``hits`` are the numbers of the triggers that the line may have; None where it may have any.
    """
    text = line.text
    if is_exception(text.lstrip()) or in_one_line(text):
        return True
    if not triggered or FRAME.match(text) or line.level in TALK:
        return False
    plain = " ".join(text.split())
    return _known(plain[:2000], line.level in QUIET, hits if plain == text.strip() else None)


def is_anchor_in(line: Line) -> bool:
    """The same of a line that stood in another, which may have any trigger."""
    return _is_anchor_in(line.text, line.level) if len(line.text) < _SHORT else is_anchor(line, True)


@lru_cache(maxsize=4096)
def _is_anchor_in(text: str, level: str) -> bool:
    return is_anchor(Line(0, "", level, text), True)


@lru_cache(maxsize=4096)
def _known(text: str, quiet: bool, hits: tuple[int, ...] | None) -> bool:
    """Whether a kind knows this text; in a quiet line of a logger, one that a warning is enough for."""
    among = _TRIGGERS if hits is None else [_TRIGGERS[number] for number in hits]
    found = dict.fromkeys(
        kind for trigger, kinds in among if trigger in text for kind in kinds if kind.warns or not quiet
    )
    return first_match(text, found) is not None
