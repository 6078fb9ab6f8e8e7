"""Which lines of one process belong to one failure."""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

from harness.diagnosis.log.again.ends import is_in_traceback, is_of_another
from harness.diagnosis.log.again.signs import Signs, signs_of
from harness.diagnosis.log.forms import FRAME, SUMMARY, TEST, TRACEBACK
from harness.diagnosis.log.leading import leading
from harness.diagnosis.log.lines import Line

# How many lines before and after an exception may belong to it, and how many a failure has at most.
BEFORE, _AFTER, LONGEST = 60, 14, 400


@dataclass(slots=True)
class Failure:
    """The lines of one failure, in order, all of one writer."""

    writer: str
    lines: list[Line] = field(default_factory=list)
    idle: int = 0  # lines since the last one that surely belongs to it
    raised: bool = False  # whether it has an exception's own line
    doubled: bool = False  # whether two processes without names wrote it by turns, so that each line is there twice
    seen: dict[str, int] = field(default_factory=dict)  # then: how often each line was there, with those left out

    def repeats(self, line: Line, anchor: bool) -> bool:
        """Whether another process wrote this line before, so that it is there already."""
        self.doubled |= anchor and line.text == self.lines[-1].text
        if not self.doubled:
            return False
        self.seen[line.text] = self.seen.get(line.text, 0) + 1
        return line.text == self.lines[-1].text or self.seen[line.text] % 2 == 0

    def summarised(self, anchor: bool) -> bool:
        """Whether pytest's line of the summary is all that the log has of this failure, so that another anchor is of the next."""
        return anchor and bool(SUMMARY.match(self.lines[-1].text))

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
        self.section: list[Line] | None = None  # what pytest printed of a failing test so far, before an exception

    def take(self, line: Line, anchor: bool) -> Failure | None:
        """Take one more line; gives the failure that ended before it, if one did."""
        ended, signs = None, signs_of(line.text)
        if self.open is not None:
            if signs.summary and self.open.raised and not self.open.summarised(anchor):
                return None
            if (anchor or self.open.doubled) and self.open.repeats(line, anchor):
                return None
            ended = self.close() if self._ends(line, anchor, signs) else None
        if self.open is not None:
            self._add(line, anchor, signs)
        elif anchor:
            self.open = _failure(self.name, self._leading())
            self.recent.clear()
            self.open.seen[line.text] = self.open.seen.get(line.text, 0) + 1
            self._add(line, anchor, signs)
        else:
            self._keep(line)
        if not signs.blank:
            self.chained = signs.chains
        return ended

    def _keep(self, line: Line) -> None:
        """Keep a line that may lead to a failure."""
        self.recent.append(line)
        if line.text[:1] == "_" and TEST.match(line.text):
            self.section = []
        elif self.section is not None:
            self.section.append(line)
            if len(self.section) > LONGEST:
                self.section = None

    def _leading(self) -> list[Line]:
        """The lines before an anchor that are of its failure: all of the test's that pytest prints, else the frames above it."""
        section, self.section = self.section, None
        if section and section[-1].number == (self.recent[-1].number if self.recent else 0):
            return section
        return leading(list(self.recent)) if self.recent else []

    def close(self) -> Failure:
        """The failure that is open, without lines at its end that only stand near it."""
        failure, self.open = self.open, None
        assert failure is not None
        if failure.idle > _AFTER:  # what follows it is no longer of it, and may lead to the next
            self.recent.extend(failure.lines[-failure.idle :])
            del failure.lines[-failure.idle + _AFTER :]
        return failure

    def _ends(self, line: Line, anchor: bool, signs: Signs) -> bool:
        failure = self.open
        assert failure is not None
        if len(failure.lines) > LONGEST or (failure.idle > _AFTER and not anchor):
            return True
        if self.chained:
            return False
        if signs.begins or (anchor and signs.begins_sure):
            return True
        if anchor and (another := is_of_another(line.text.lstrip(), failure.lines, failure.raised)) is not None:
            return another
        if anchor and signs.exception:
            return not is_in_traceback(failure.lines) and (failure.raised or failure.idle > 3)
        return line.level in ("INFO", "DEBUG") and failure.lines[-1].level not in ("INFO", "DEBUG")

    def _add(self, line: Line, anchor: bool, signs: Signs) -> None:
        assert self.open is not None
        self.open.lines.append(line)
        if anchor and not self.open.raised:
            self.open.raised = signs.exception or signs.told
        self.open.idle = 0 if anchor or signs.belongs else self.open.idle + (not signs.blank)


def _failure(writer: str, before: list[Line]) -> Failure:
    """The failure that these lines lead to, each line once where processes without names wrote by turns."""
    if len(before) < 4:
        return Failure(writer, before)
    texts = [line.text for line in before]
    twice = sum(one == next_one and FRAME.match(one) is not None for one, next_one in pairwise(texts)) > 1
    if not twice and sum([TRACEBACK in text for text in texts]) < 2:
        return Failure(writer, before)
    failure = Failure(writer, before[:1], doubled=True, seen={before[0].text: 1})
    for line in before[1:]:
        if not failure.repeats(line, False):
            failure.lines.append(line)
    return failure
