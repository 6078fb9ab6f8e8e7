"""Where in a chunk of a log the texts are that a failure may have, and the lines around them."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from harness.diagnosis.log.failures import BEFORE
from harness.diagnosis.log.lines import NEXT

_NOT_YET = -2
_FARTHEST = 1 << 15  # how many characters before and after a place are looked at


def following(chunk: bytes, place: int) -> list[str]:
    """Some lines of a chunk from ``place`` on; fewer at its end."""
    lines = chunk[place : place + _FARTHEST].split(b"\n", NEXT)[:NEXT]
    return [line.decode("utf-8", "replace") for line in lines if line]


class Places:
    """Where in a chunk the words are, in order, and which word is at each place."""

    def __init__(self, found: Sequence[tuple[int, int]]) -> None:
        self.places = [place for place, _ in found]
        self._numbers = [number for _, number in found]

    def between(self, start: int, end: int) -> tuple[int, ...]:
        """The numbers of the words that begin there, each once and in the order of the words."""
        first, last = bisect_left(self.places, start), bisect_left(self.places, end)
        return tuple(sorted(set(self._numbers[first:last])))


class Words:
    """Where in a chunk any of a few words is next. A word is looked for only where it is asked for."""

    def __init__(self, chunk: bytes, words: Iterable[bytes]) -> None:
        self._chunk = chunk
        self._next = dict.fromkeys(words, _NOT_YET)
        self._first = _NOT_YET

    def next(self, place: int) -> int:
        """The first of them that is not before ``place``; -1 for none."""
        if self._first < place and self._first != -1:
            for word, at in self._next.items():
                if at < place and at != -1:
                    self._next[word] = self._chunk.find(word, place)
            self._first = min((at for at in self._next.values() if at >= 0), default=-1)
        return self._first


def next_mark(marks: list[int], place: int) -> int:
    """The first mark that is not before ``place``; -1 for none."""
    at = bisect_left(marks, place)
    return marks[at] if at < len(marks) else -1


def lines_before(chunk: bytes, first: int, place: int) -> int:
    """The start of the line that is some lines before ``place``, and not before ``first``."""
    first = max(first, place - _FARTHEST)
    for _ in range(BEFORE):
        line = chunk.rfind(b"\n", first, max(first, place))
        if line < 0:
            return first
        place = line
    return place + 1
