"""A failure's text in the forms that patterns are tried on, and where in the log a match stands."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from harness.diagnosis.failures import TRACEBACK, Failure
from harness.diagnosis.lines import Line
from harness.diagnosis.patterns import Kind, Match, every_match, first_match

_FILE = re.compile(r'\s*File "')
# No message needs more, and patterns are tried on all of it.
_LONGEST = 40_000


@dataclass(frozen=True, slots=True)
class Joined:
    """Lines joined by single spaces, each line's place in the text, and its number in the log."""

    text: str
    places: tuple[int, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Joined":
        """Join lines."""
        parts, places, numbers, length = [], [], [], 0
        for line in lines:
            part = " ".join(line.text.split())
            if part and length < _LONGEST:
                parts.append(part)
                places.append(length)
                numbers.append(line.number)
                length += len(part) + 1
        return cls(" ".join(parts), tuple(places), tuple(numbers))

    def number(self, place: int) -> int:
        """The number of the line that the character at ``place`` came from."""
        return self.numbers[max(0, bisect_right(self.places, place) - 1)] if self.numbers else 0


@dataclass(frozen=True, slots=True)
class Texts:
    """What a failure says: ``messages`` without the frames of tracebacks, ``whole`` with them, ``lines`` as they were."""

    messages: Joined
    whole: Joined
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, failure: Failure) -> "Texts":
        """The forms of one failure's text."""
        return cls(Joined.of(without_frames(failure.lines)), Joined.of(failure.lines), tuple(failure.lines))

    def match(self, kinds: tuple[Kind, ...]) -> tuple[Match, int] | None:
        """The first kind's match and the number of its line: in messages before frames, as written before wrapped."""
        best: tuple[Match, int] | None = None
        for joined in (self.messages, self.whole):
            for wrapped in (False, True):
                found = first_match(joined.text, kinds, wrapped)
                if found and (best is None or (wrapped and found.kind.rank < best[0].kind.rank)):
                    best = found, joined.number(found.place if not wrapped else _spaced(joined.text, found.place))
            if best:
                return best
        return None

    def every(self, match: Match) -> list[Match]:
        """Every match of the same kind."""
        return every_match(self.whole.text, match.kind, match.wrapped)


def without_frames(lines: Iterable[Line]) -> list[Line]:
    """The lines that are no frames of a traceback: neither a File line nor the code and marks below it."""
    found: list[Line] = []
    frame: int | None = None
    for line in lines:
        text = line.text
        depth = len(text) - len(text.lstrip())
        if _FILE.match(text):
            frame = depth
        elif TRACEBACK in text:
            frame = None
        elif frame is not None and (depth > frame or (depth == frame and depth > 0)) and text.strip():
            continue
        else:
            frame = None
            found.append(line)
    return found


def _spaced(text: str, place: int) -> int:
    """The place in ``text`` of what stands at ``place`` once its white space is taken out."""
    seen = 0
    for at, character in enumerate(text):
        if not character.isspace():
            if seen == place:
                return at
            seen += 1
    return len(text)
