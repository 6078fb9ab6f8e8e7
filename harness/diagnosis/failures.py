"""Failures in a stream of lines: which lines of a log belong to one failure, in each of the processes that wrote it."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

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
            self.open = Failure(self.name, [*self._before(), line])
            self.recent.clear()
        else:
            self.recent.append(line)
        if line.text.strip():
            self.chained = bool(_CHAINED.search(line.text))

    def close(self) -> Failure:
        """The failure that is open, without lines at its end that only stand near it."""
        failure, self.open = self.open, None
        assert failure is not None
        if failure.idle:
            self.recent.extend(failure.lines[-failure.idle :])
            if failure.idle > _AFTER:
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
            return not self._in_traceback()
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
        belongs = anchor or text[:1] in (" ", "\t") or _BELOW.match(text) or TRACEBACK in text or _CHAINED.search(text)
        self.open.idle = 0 if belongs else self.open.idle + 1

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
        while place and (not lines[place - 1].text.strip() or lines[place - 1].text[0] in " \t>") and len(lines) - place < 30:
            place -= 1
        return lines[place:] if any(_FRAME.match(line.text) for line in lines[place:]) else []


class Failures:
    """Finds failures in chunks of a log, whatever the order in which its processes wrote."""

    def __init__(self) -> None:
        self.lines = 0
        self._writers: dict[str, Writer] = {}

    def read(self, chunk: bytes) -> Iterator[Failure]:
        """The failures that end in this chunk of whole lines."""
        alive = {text: kinds for text, kinds in triggers().items() if text.encode() in chunk}
        waiting = any(writer.open for writer in self._writers.values())
        if not (alive or waiting or b"Error" in chunk or b"Exception" in chunk or b"Traceback" in chunk):
            self.lines += chunk.count(b"\n")
            return
        for raw in chunk.decode("utf-8", "replace").split("\n")[: -1 if chunk.endswith(b"\n") else None]:
            self.lines += 1
            yield from self._take(read_line(self.lines, raw), alive)

    def end(self) -> Iterator[Failure]:
        """The failures that are still open at the end of the log."""
        for writer in self._writers.values():
            if writer.open is not None:
                yield writer.close()

    def _take(self, line: Line, alive: dict[str, tuple[Kind, ...]]) -> Iterator[Failure]:
        writer = self._writers.get(line.writer)
        if writer is None:
            if len(self._writers) >= _WRITERS:  # every line seems to have a writer of its own: they are none
                line = Line(line.number, "", line.level, line.text)
            writer = self._writers.setdefault(line.writer, Writer(line.writer))
        yield from writer.take(line, is_anchor(line, alive))


def is_anchor(line: Line, alive: dict[str, tuple[Kind, ...]]) -> bool:
    """Whether a failure is sure to be here: an exception's own line, or a text that a kind knows."""
    text = line.text
    if EXCEPTION.match(text.lstrip()):
        return True
    kinds = _named(text, alive)
    if line.level in _QUIET:
        kinds = [kind for kind in kinds if kind.warns]
    return bool(kinds) and not _FRAME.match(text) and first_match(" ".join(text.split()), kinds) is not None


def _named(text: str, alive: dict[str, tuple[Kind, ...]]) -> list[Kind]:
    found: Iterable[Kind] = (kind for trigger, kinds in alive.items() if trigger in text for kind in kinds)
    return list(dict.fromkeys(found))
