"""Which lines of one process belong to one failure."""

import re
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import pairwise

from harness.diagnosis.log.lines import Line

TRACEBACK = "Traceback (most"  # a terminal may break it after this
# An exception's own line: a dotted name that ends as names of exceptions do, then a colon or nothing.
EXCEPTION = re.compile(
    r"(?:\w+\.)*(?:[A-Z]\w*(?:Error|Exception|Failure|Interrupt|Exceeded|Hit|Reached|Mismatch)|Unsupported"
    r"|GuardOnDataDependentSymNode|Failed|\w*Exception)(?=: |:$|\s*$)"
)
_CHAINED = re.compile(r"The above exception was the direct cause|During handling of the above exception")
# What torch and CUDA print below an exception's line, at no indentation.
_BELOW = re.compile(
    r"Error in op|This error most often|Use torch\.library|See https?:|Explanation|Hint:|Developer debug|from user code"
    r"|Set TORCH|For (?:more|debugging|extended|C\+\+)|You can suppress|Caused by|Suggested fixes|- |\* |User [Ss]tack"
    r"|consider using|CUDA kernel errors|HIP kernel errors|Compile with|Search for|Device-side|Declaration:|all __torch"
    r"|target:|args\["
    r"|The error above occurred|While executing|Original traceback|FX node|Found from|If you suspect|Detail|\^"
)
FRAME = re.compile(r'\s*(?:│\s*)?File "|\s*[\w/.<>~-]+\.py:\d+: |\s*\^|\s*~')
_UNENDED = re.compile(r'File "[^"]*$')
_HEADING = re.compile(r"[_=]{5,}")
QUIET = frozenset(("DEBUG", "INFO", "WARN", "WARNING"))
# How many lines before and after an exception may belong to it, and how many a failure has at most.
BEFORE, _AFTER, LONGEST = 60, 14, 400
# How far back frames without a heading are looked for, and how wide a line at least is where a terminal cuts it.
_CLOSE, _CUT = 30, 60


@dataclass(slots=True)
class Failure:
    """The lines of one failure, in order, all of one writer."""

    writer: str
    lines: list[Line] = field(default_factory=list)
    idle: int = 0  # lines since the last one that surely belongs to it
    raised: bool = False  # whether it has an exception's own line
    doubled: bool = False  # whether two processes without names wrote it by turns, so that each line is there twice
    seen: Counter[str] = field(default_factory=Counter)  # then: how often each line was there, with those left out

    def repeats(self, line: Line, anchor: bool) -> bool:
        """Whether another process wrote this line before, so that it is there already."""
        self.doubled |= anchor and line.text == self.lines[-1].text
        if not self.doubled:
            return False
        self.seen[line.text] += 1
        return line.text == self.lines[-1].text or self.seen[line.text] % 2 == 0

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
        self.recent: deque[Line] = deque(maxlen=BEFORE)
        self.open: Failure | None = None
        self.chained = False

    def take(self, line: Line, anchor: bool) -> Failure | None:
        """Take one more line; gives the failure that ended before it, if one did."""
        ended = None
        if self.open is not None:
            if (anchor or self.open.doubled) and self.open.repeats(line, anchor):
                return None
            ended = self.close() if self._ends(line, anchor) else None
        if self.open is not None:
            self._add(line, anchor)
        elif anchor:
            self.open = _failure(self.name, self._before())
            self.recent.clear()
            self.open.seen[line.text] += 1
            self._add(line, anchor)
        else:
            self.recent.append(line)
        if line.text.strip():
            self.chained = _chains(line.text)
        return ended

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
        if len(failure.lines) > LONGEST or (failure.idle > _AFTER and not anchor):
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
        return bool(FRAME.match(last)) or last.startswith(("    ", "\t\t"))

    def _add(self, line: Line, anchor: bool) -> None:
        assert self.open is not None
        self.open.lines.append(line)
        text = line.text
        self.open.raised |= anchor and bool(EXCEPTION.match(text.lstrip()))
        belongs = anchor or text[:1] in (" ", "\t") or _BELOW.match(text) or TRACEBACK in text or _chains(text)
        self.open.idle = 0 if belongs else self.open.idle + bool(text.strip())

    def _before(self) -> list[Line]:
        """The lines before an exception's line that lead to it: its traceback, or the frames that are left of one."""
        lines = list(self.recent)
        for place in range(len(lines) - 1, -1, -1):
            text = lines[place].text
            if TRACEBACK in text:
                return lines[_start(lines, place) :]
            if _HEADING.match(text):
                return lines[place + 1 :]
        place = len(lines)
        while place and len(lines) - place < _CLOSE and _leads(lines, place - 1):
            place -= 1
        if any(FRAME.match(line.text) for line in lines[place:]):
            return lines[place:]
        return [line for line in lines[-2:] if line.level not in QUIET]


def _chains(text: str) -> bool:
    """Whether Python says here that one exception led to the next."""
    return "exception" in text and bool(_CHAINED.search(text))


def _failure(writer: str, before: list[Line]) -> Failure:
    """The failure that these lines lead to, each line once where processes without names wrote by turns."""
    if len(before) < 4:
        return Failure(writer, before)
    frames = [FRAME.match(line.text) and line.text for line in before]
    twice = sum(one is not None and one == next_one for one, next_one in pairwise(frames)) > 1
    if not twice and sum(TRACEBACK in line.text for line in before) < 2:
        return Failure(writer, before)
    failure = Failure(writer, before[:1], doubled=True, seen=Counter([before[0].text]))
    for line in before[1:]:
        if not failure.repeats(line, False):
            failure.lines.append(line)
    return failure


def _start(lines: list[Line], place: int) -> int:
    """Where the traceback at ``place`` starts: at another one above where the same frames stand below both."""
    first = next((at for at in range(place) if TRACEBACK in lines[at].text), place)
    above = {line.text for line in lines[first:place] if FRAME.match(line.text)}
    same = first + 1 == place or any(line.text in above for line in lines[place:])
    return first if same else place


def _leads(lines: list[Line], place: int) -> bool:
    """Whether a line can be of a traceback's end: indented, empty, or the rest of a line of it that was broken."""
    text = lines[place].text
    return not text.strip() or text[0] in " \t>" or (place > 0 and _is_cut(lines[place - 1], lines))


def _is_cut(line: Line, lines: list[Line]) -> bool:
    """Whether a line goes on in the next: it is as wide as the terminal, or its file's name has no end."""
    if line.level in QUIET:
        return False
    wide = line.width >= _CUT and (line.text.startswith(" ") or line.width == max(other.width for other in lines))
    return wide or bool(_UNENDED.search(line.text))
