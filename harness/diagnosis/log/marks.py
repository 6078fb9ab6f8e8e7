"""Where in a chunk of a log the texts are that a failure may have, and the lines around them."""

from bisect import bisect_left
from collections.abc import Iterable

from harness.diagnosis.log.again.words import Known
from harness.diagnosis.log.failures import BEFORE
from harness.diagnosis.log.lines import NEXT

_NOT_YET = -2
_AT_ONCE = 1 << 14  # how much of a chunk is looked at at once
_FARTHEST = 1 << 15  # how many characters before and after a place are looked at


def following(chunk: bytes, place: int) -> list[str]:
    """Some lines of a chunk from ``place`` on; fewer at its end."""
    lines = chunk[place : place + _FARTHEST].split(b"\n", NEXT)[:NEXT]
    return [line.decode("utf-8", "replace") for line in lines if line]


class Places:
    """Where in a chunk the words are, in order, and which word is at each place: looked for where asked for alone."""

    def __init__(self, chunk: bytes, known: Known) -> None:
        self._chunk, self._known = chunk, known
        self._clear, self._end = 0, 0  # from where on the places are known, and up to where
        self._places: list[int] = []
        self._numbers: list[int] = []

    def next(self, place: int) -> int:
        """The first place that is not before ``place``; -1 for none."""
        if place < self._clear or place > self._end:
            self._look(place)
        while True:
            at = bisect_left(self._places, place)
            if at < len(self._places):
                return self._places[at]
            if self._end >= len(self._chunk):
                return -1
            self._look(self._end, place)

    def _look(self, start: int, clear: int | None = None) -> None:
        """Look at some lines from that around ``start`` on; before it nothing is from ``clear`` on."""
        start = self._chunk.rfind(b"\n", 0, start) + 1
        end = self._chunk.find(b"\n", start + _AT_ONCE) + 1 or len(self._chunk)
        found = self._known.places(self._chunk[start:end])
        self._places, self._numbers = [start + place for place, _ in found], [number for _, number in found]
        self._clear, self._end = start if clear is None else clear, end

    def between(self, start: int, end: int) -> tuple[int, ...]:
        """The numbers of the words that begin there, each once and in the order of the words."""
        if start >= end or not 0 <= self.next(start) < end:
            return ()
        first, last = bisect_left(self._places, start), bisect_left(self._places, end)
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


def lines_before(chunk: bytes, first: int, place: int) -> int:
    """The start of the line that is some lines before ``place``, and not before ``first``."""
    first = max(first, place - _FARTHEST)
    for _ in range(BEFORE):
        line = chunk.rfind(b"\n", first, max(first, place))
        if line < 0:
            return first
        place = line
    return place + 1
