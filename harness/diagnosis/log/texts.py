"""A failure's text in the forms that patterns are tried on, and where in the log a match stands."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.diagnosis.known.kinds import Kind, Match, every_match, first_match
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import TRACEBACK, is_exception
from harness.diagnosis.log.lines import Line

# What pytest prints between frames and above a test; and an argument or a local variable, of which it cuts the middle out.
_OF_PYTEST = re.compile(r"(?:_ ){4}|_{3,} .{1,200} _{3,}\s*$")
_ARGUMENT = re.compile(r"[A-Za-z_]\w* *= \S")
_FILE = re.compile(r'\s*File "')
# No message needs more, and patterns are tried on all of it.
_LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Joined:
    """Lines joined by single spaces, each line's place in the text, and its number in the log."""

    text: str
    places: tuple[int, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Joined":
        """Join lines; without a space where a terminal broke one."""
        lines = list(lines)
        parts: list[str] = []
        places: list[int] = []
        numbers: list[int] = []
        length = 0
        broken, last = broken_lines(lines), ""
        for line in lines:
            part = " ".join(line.text[:_LONGEST].split())
            if not part or length > _LONGEST:
                continue
            if parts and (not broken(line) or last.endswith(" ") or line.text.startswith(" ")):
                part = f" {part}"
            last = line.text
            parts.append(part)
            places.append(length)
            numbers.append(line.number)
            length += len(part)
        return cls("".join(parts), tuple(places), tuple(numbers))

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
        return cls(Joined.of(_messages(failure.lines)), Joined.of(failure.lines), tuple(failure.lines))

    def match(self, kinds: tuple[Kind, ...]) -> tuple[Match, int] | None:
        """The match that says the most, and the number of its line: the first kind, its first pattern; in messages before frames."""
        for joined in (self.messages, self.whole):
            found = [m for wrapped in (False, True) if (m := first_match(joined.text, kinds, wrapped))]
            if found:
                cut = self._cut(found[0], joined) and not _alike(*found[:2])
                best = min(
                    found, key=lambda match: (match.kind.rank, match.order, -len(match.groups), match.wrapped != cut)
                )
                return best, joined.number(_spaced(joined.text, best.place) if best.wrapped else best.place)
        return None

    def _cut(self, match: Match, joined: Joined) -> bool:
        """Whether a match ends where a line as wide as any does, so that a terminal may have cut what it took."""
        end = match.place + len(match.text)
        if match.wrapped or end not in joined.places:
            return False
        number = joined.number(end - 1)
        width = max(line.width for line in self.lines)
        return any(line.number == number and line.width == width for line in self.lines)

    def every(self, match: Match) -> list[Match]:
        """Every match of the same kind."""
        return every_match(self.whole.text, match.kind, match.wrapped)


def _alike(one: Match, other: Match | None = None) -> bool:
    """Whether two matches took the same of a text, but for its white space: then no terminal cut the one that has it."""
    if other is None or (one.kind, one.order) != (other.kind, other.order):
        return False
    return {name: "".join(value.split()) for name, value in one.groups.items()} == other.groups


def broken_lines(lines: list[Line]) -> Callable[[Line], bool]:
    """Whether a line goes on with the one before it: a terminal broke one there, which makes lines of one and the same width."""
    width = max((line.width for line in lines), default=0)
    full = {line.number for line in lines if line.width == width}
    many = len(full) > 1 or any(not a.bare and b.bare and a.number in full for a, b in pairwise(lines))
    if not many or not 20 <= width <= 300:
        return lambda line: False
    return lambda line: line.number - 1 in full and line.bare and not line.text.startswith("  ")


def _messages(lines: Sequence[Line]) -> list[Line]:
    """The lines that are no frames; of what pytest prints with an exception's line, without the arguments of its functions."""
    found = without_frames(lines)
    if not any(_OF_PYTEST.match(line.text) for line in found) or not any(is_exception(line.text) for line in found):
        return found
    return [line for line in found if not _ARGUMENT.match(line.text)]


def without_frames(lines: Iterable[Line]) -> list[Line]:
    """The lines that are no frames of a traceback: neither a File line nor the code and marks below it."""
    found: list[Line] = []
    frame: int | None = None
    for line in lines:
        text = line.text
        depth = len(text) - len(text.lstrip())
        if not text.strip():
            continue
        if _FILE.match(text):
            frame = depth
        elif TRACEBACK in text:
            frame = None
        elif frame is not None and (depth > frame or (depth == frame and depth > 0)):
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
