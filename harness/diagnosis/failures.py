"""Failures in a stream of lines: which lines of a log belong to one failure, in each of the processes that wrote it."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from harness.diagnosis.lines import Line, read_line
from harness.diagnosis.patterns import Kind, first_match, triggers

TRACEBACK = "Traceback (most recent call last)"
# An exception's own line: a dotted name that ends as names of exceptions do, then a colon or nothing.
EXCEPTION = re.compile(
    r"(?:\w+\.)*(?:[A-Z]\w*(?:Error|Exception|Failure|Interrupt|Exceeded|Hit|Reached|Mismatch)|Unsupported"
    r"|GuardOnDataDependentSymNode|Failed|\w*Exception)(?=: |:$|\s*$)"
)
_CHAINED = re.compile(r"The above exception was the direct cause|During handling of the above exception")
# What torch and CUDA print below an exception's line, at no indentation.
_BELOW = re.compile(
    r"Error in op|This error most often|Use torch\.library|See https?:|Explanation|Hint:|Developer debug|from user code"
    r"|Set TORCH|For (?:more|debugging|extended|C\+\+)|You can suppress|Caused by|Suggested fixes|- |\* |User [Ss]tack|consider using"
    r"|CUDA kernel errors|HIP kernel errors|Compile with|Search for|Device-side|Declaration:|all __torch|target:|args\["
    r"|The error above occurred|While executing|Original traceback|FX node|Found from|If you suspect|Detail|\^"
)
_FRAME = re.compile(r'\s*(?:│\s*)?File "|\s*[\w/.<>~-]+\.py:\d+: |\s*\^|\s*~')
_HEADING = re.compile(r"[_=]{5,}")
_QUIET = frozenset(("DEBUG", "INFO", "WARN", "WARNING"))
_BEFORE, _AFTER, _LONGEST, _WRITERS = 60, 14, 400, 512


@dataclass(slots=True)
class Failure:
    """The lines of one failure, in order, all of one writer."""

    writer: str
    lines: list[Line] = field(default_factory=list)
    idle: int = 0  # lines since the last one that surely belongs to it
    raised: bool = False  # whether it has an exception's own line

    @property
    def first(self) -> int:
        """The number of its first line in the log."""
        return self.lines[0].number

    @property
    def last(self) -> int:
        """The number of its last line in the log."""
        return self.lines[-1].number


class Writer:
    """One process's lines on their way into failures."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.recent: deque[Line] = deque(maxlen=_BEFORE)
        self.open: Failure | None = None
        self.chained = False

    def take(self, line: Line, anchor: bool) -> Iterator[Failure]:
        """Take one more line; gives the failure that ended before it, if one did."""
        if self.open is not None and self._ends(line, anchor):
            yield self.close()
        if self.open is not None:
            self._add(line, anchor)
        elif anchor:
            self.open = Failure(self.name, self._before())
            self.recent.clear()
            self._add(line, anchor)
        else:
            self.recent.append(line)
        if line.text.strip():
            self.chained = bool(_CHAINED.search(line.text))

    def close(self) -> Failure:
        """The failure that is open, without lines at its end that only stand near it."""
        failure, self.open = self.open, None
        assert failure is not None
        if failure.idle > _AFTER:  # what follows it is no longer of it, and may lead to the next
            self.recent.extend(failure.lines[-failure.idle :])
            del failure.lines[-failure.idle + _AFTER :]
        return failure

    def _ends(self, line: Line, anchor: bool) -> bool:
        failure = self.open
        assert failure is not None
        if len(failure.lines) > _LONGEST or (failure.idle > _AFTER and not anchor):
            return True
        if self.chained:
            return False
        text = line.text.lstrip()
        if text.startswith(TRACEBACK) or text.startswith("torch._dynamo hit config"):
            return True
        if anchor and EXCEPTION.match(text):
            return not self._in_traceback() and (failure.raised or failure.idle > 3)
        return line.level in ("INFO", "DEBUG") and failure.lines[-1].level not in ("INFO", "DEBUG")

    def _in_traceback(self) -> bool:
        """Whether the lines taken last are frames, so that an exception's line is theirs."""
        assert self.open is not None
        last = next((line.text for line in reversed(self.open.lines) if line.text.strip()), "")
        return bool(_FRAME.match(last)) or last.startswith(("    ", "\t\t"))

    def _add(self, line: Line, anchor: bool) -> None:
        assert self.open is not None
        self.open.lines.append(line)
        text = line.text
        self.open.raised |= anchor and bool(EXCEPTION.match(text.lstrip()))
        belongs = anchor or text[:1] in (" ", "\t") or _BELOW.match(text) or TRACEBACK in text or _CHAINED.search(text)
        self.open.idle = 0 if belongs else self.open.idle + bool(text.strip())

    def _before(self) -> list[Line]:
        """The lines before an exception's line that lead to it: its traceback, or the frames that are left of one."""
        lines = list(self.recent)
        for place in range(len(lines) - 1, -1, -1):
            text = lines[place].text
            if TRACEBACK in text:
                return lines[place:]
            if _HEADING.match(text):
                return lines[place + 1 :]
        place = len(lines)
        while (
            place
            and (not lines[place - 1].text.strip() or lines[place - 1].text[0] in " \t>")
            and len(lines) - place < 30
        ):
            place -= 1
        if any(_FRAME.match(line.text) for line in lines[place:]):
            return lines[place:]
        return [line for line in lines[-2:] if line.level not in _QUIET]


class Failures:
    """Finds failures in chunks of a log, whatever the order in which its processes wrote.

    Most of a log is of no failure. Lines are read only near a text that a failure may have, from some lines before it.
    """

    def __init__(self) -> None:
        self.lines = 0  # lines up to the place that was read or passed over
        self._held = b""  # the end of the last chunk: what leads to a failure at the start of the next
        self._writer = ""
        self._writers: dict[str, Writer] = {}
        self._open: dict[str, Writer] = {}

    def read(self, chunk: bytes) -> Iterator[Failure]:
        """The failures that end in this chunk of whole lines."""
        chunk = self._held + chunk
        alive = {text: kinds for text, kinds in triggers().items() if text.encode() in chunk}
        marks, place = _marks(chunk, alive), 0
        while place < len(chunk):
            if not self._open:
                mark = next((mark for mark in marks if mark >= place), -1)
                start = _before(chunk, place, mark if mark >= 0 else len(chunk))
                self.lines += chunk.count(b"\n", place, start)
                place = start
                if mark < 0:
                    break
                yield from self._lines(chunk[place : mark + 1], alive)
                place = chunk.rfind(b"\n", place, mark) + 1 or place
            end = chunk.find(b"\n", place) + 1 or len(chunk)
            yield from self._line(chunk[place:end], alive)
            place = end
        self._held = chunk[place:]

    def end(self) -> Iterator[Failure]:
        """The failures that are still open at the end of the log."""
        self.lines += self._held.count(b"\n") + (not self._held.endswith(b"\n") and bool(self._held))
        for writer in self._open.values():
            yield writer.close()

    def _lines(self, text: bytes, alive: dict[str, tuple[Kind, ...]]) -> Iterator[Failure]:
        """Read the whole lines of a piece."""
        for raw in text.split(b"\n")[:-1]:
            yield from self._line(raw, alive)

    def _line(self, raw: bytes, alive: dict[str, tuple[Kind, ...]]) -> Iterator[Failure]:
        self.lines += 1
        line = read_line(self.lines, raw.decode("utf-8", "replace"))
        name = line.writer
        if not name and line.bare:  # the rest of a message of many lines, or of a line that a terminal wrapped
            name = self._writer
        if name not in self._writers and len(self._writers) >= _WRITERS:
            name = ""  # every line seems to have a writer of its own: they are none
        self._writer = name
        writer = self._writers.setdefault(name, Writer(name))
        yield from writer.take(line, is_anchor(line, alive))
        if writer.open is not None:
            self._open[name] = writer
        else:
            self._open.pop(name, None)
        if len(self._open) > 1 or name not in self._open:
            yield from self._silent()

    def _silent(self) -> Iterator[Failure]:
        """Failures of processes that have written nothing for long."""
        for name, writer in list(self._open.items()):
            if writer.open is not None and self.lines - writer.open.last > _LONGEST:
                del self._open[name]
                yield writer.close()


_MARKS = (b"Error", b"Exception", b"Traceback", b"Unsupported", b"Interrupt", b"LimitHit", b"Exceeded", b"Failure")


def _marks(chunk: bytes, alive: dict[str, tuple[Kind, ...]]) -> Iterator[int]:
    """The places in a chunk, in order, at which a failure may be."""
    words = [re.escape(word) for word in (*_MARKS, *(text.encode() for text in alive)) if word in chunk]
    return (found.start() for found in re.finditer(b"|".join(words), chunk)) if words else iter(())


def _before(chunk: bytes, first: int, place: int) -> int:
    """The start of the line that is some lines before ``place``, and not before ``first``."""
    for _ in range(_BEFORE):
        line = chunk.rfind(b"\n", first, max(first, place))
        if line < 0:
            return first
        place = line
    return place + 1


def is_anchor(line: Line, alive: dict[str, tuple[Kind, ...]]) -> bool:
    """Whether a failure is sure to be here: an exception's own line, or a text that a kind knows."""
    text = line.text
    if EXCEPTION.match(text.lstrip()):
        return True
    if not any(trigger in text for trigger in alive) or _FRAME.match(text):
        return False
    return _known(" ".join(text.split())[:2000], line.level in _QUIET)


@lru_cache(maxsize=4096)
def _known(text: str, quiet: bool) -> bool:
    """Whether a kind knows this text; in a quiet line of a logger, one that a warning is enough for."""
    found = dict.fromkeys(
        kind for trigger, kinds in triggers().items() if trigger in text for kind in kinds if kind.warns or not quiet
    )
    return first_match(text, found) is not None
