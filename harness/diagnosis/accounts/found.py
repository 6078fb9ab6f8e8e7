"""The different failures of a log, each with how often it is there and who wrote it."""

import re
from collections.abc import Callable
from functools import lru_cache

from harness.diagnosis.accounts.events import Events, Frames, frames_of
from harness.diagnosis.accounts.few import Key, Sort
from harness.diagnosis.accounts.processes import process_of
from harness.diagnosis.log.again.copies import is_copy
from harness.diagnosis.log.again.places import place_in
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import is_exception

# More different failures than these are only counted.
LIMIT = 50
# How many are held before they are merged, and how many of those that a kind knows.
_FEW, _MANY = 4 * LIMIT, 8 * LIMIT
_NUMBER = re.compile(r"\d+")
_SHORT = 1000

# A failure, how often it is there, and who wrote it.
Counted = tuple[Failure, int, list[str]]


class Found:
    """The failures that were taken. ``is_known`` says whether a kind knows one."""

    def __init__(self, is_known: Callable[[Failure], bool]) -> None:
        self.failures: dict[Key, tuple[Failure, Events, list[str]]] = {}
        self.left_out = 0
        self._is_known = is_known
        self._sorts: dict[Key, Sort] = {}
        self._texts: dict[tuple[str, ...], tuple[Key, Frames]] = {}

    @property
    def full(self) -> bool:
        """Whether no other failure is kept, whatever it is."""
        return len(self.failures) >= _MANY

    def counted(self) -> list[Counted]:
        """What was taken, in the order of the log."""
        return [(failure, events.count, writers) for failure, events, writers in self.failures.values()]

    def take(self, failure: Failure, times: int = 1) -> None:
        """One more failure, or some; its text tells whether it is there already."""
        key, frames = self._read(failure)
        if key in self.failures:
            first, events, writers = self.failures[key]
            if failure.writer not in writers and is_copy(failure) and not is_copy(first):
                return
            if failure.writer not in writers and len(writers) < LIMIT:
                writers.append(failure.writer)
            events.add(failure.writer, frames, times)
        elif self._is_one_of_few(failure, key, times) and self._has_room(failure):
            events = Events()
            events.add(failure.writer, frames, times)
            self.failures[key] = failure, events, [failure.writer]
        else:
            self.left_out += times

    def _read(self, failure: Failure) -> tuple[Key, Frames]:
        """What tells a failure from others, and its frames; a log has the same text again and again."""
        text = tuple([line.text for line in failure.lines])
        found = self._texts.get(text)
        if found is None:
            if len(self._texts) >= _MANY:
                self._texts.clear()
            found = self._texts[text] = key_of(failure), frames_of(failure)
        return found

    def again(self, key: Key, times: int) -> None:
        """A failure that is held was there some times more."""
        self.failures[key][1].more(times)

    def _is_one_of_few(self, failure: Failure, key: Key, times: int) -> bool:
        """Whether few were taken that differ from it in numbers alone, or none of its process."""
        form = tuple(map(_without_numbers, key))
        sort = self._sorts.get(form) or self._sorts.setdefault(form, Sort())
        return sort.takes(key, process_of(key[0], (failure.writer,)), times)

    def _has_room(self, failure: Failure) -> bool:
        """Whether one more is kept: there are few yet, or not many and a kind knows this one."""
        held = len(self.failures)
        return held < _FEW or (held < _MANY and self._is_known(failure))


def _without_numbers(text: str) -> str:
    return _remembered(text) if len(text) < _SHORT else _NUMBER.sub("", text)


@lru_cache(maxsize=1024)
def _remembered(text: str) -> str:
    """The same of a short text; most lines of a failure were there before."""
    return _NUMBER.sub("", text)


def key_of(failure: Failure) -> Key:
    """What tells a failure from others: its exceptions' lines, else its first lines; and its innermost place."""
    texts = [line.text.strip() for line in failure.lines]
    found = [text[:300] for text in texts if is_exception(text) or "expected size" in text]
    return (*(found or texts[:4]), place_in(line.text for line in reversed(failure.lines)))
