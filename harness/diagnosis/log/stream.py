"""Failures in a stream of chunks: only lines near a text that a failure may have are read."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from harness.diagnosis.known.kinds import triggers
from harness.diagnosis.log.again.carried import Carried
from harness.diagnosis.log.again.memory import Memory
from harness.diagnosis.log.again.repeated import Alike, Repeated
from harness.diagnosis.log.again.tests import Sections
from harness.diagnosis.log.again.words import Known
from harness.diagnosis.log.anchors import is_anchor, is_anchor_in
from harness.diagnosis.log.escapes import chunk_without_codes
from harness.diagnosis.log.failures import LONGEST, Failure, Writer
from harness.diagnosis.log.lines import Line, LineReader
from harness.diagnosis.log.marks import Places, Words, following, lines_before

_LETTERS, _OF_TESTS = ord("A"), b"_F"  # how pytest begins a section, and lines of its summary
_WARNS, _LIMIT = ord("W"), b"torch._dynamo hit"  # as a limit of recompilations is told
_WRITERS = 512  # processes whose lines are told apart
# A failure that no kind knows has one of these in its exception's name.
_MARKS = (b"Error", b"Exception", b"Traceback", b"Unsupported", b"Interrupt", b"LimitHit", b"Exceeded", b"Failure")

_MARK = re.compile(b"|".join(_MARKS))

_TRIGGERS = tuple(text.encode() for text in triggers())


class Failures:
    """Finds failures in chunks of a log, whatever the order in which its processes wrote.

    Most of a log is of no failure. Lines are read only near a text that a failure may have, from some lines before it.
    """

    def __init__(self) -> None:
        self.lines = 0  # lines up to the place that was read or passed over
        self.repeated, self.alike, self.tests = Repeated(), Alike(), Sections()
        self._held = b""  # the end of the last chunk: what leads to a failure at the start of the next
        self._reader = LineReader()
        self._known = Known(_TRIGGERS)
        self._hits = Places(b"", self._known)
        self._follows = False  # whether the next line follows failures that were only counted, and is read in any case
        self._memory, self._carried = Memory(), Carried()
        self._forms = self._reader.forms
        self._writer = ""
        self._writers: dict[str, Writer] = {}
        self._open: dict[str, Writer] = {}

    def read(self, chunk: bytes) -> Iterator[Failure]:
        """The failures that end in this chunk of whole lines."""
        judged, chunk = len(self._held), self._held + chunk_without_codes(chunk)
        self._hits, words = Places(chunk, self._known), Words(chunk, _MARKS)
        place, trigger = 0, self._hits.next(0)
        while place < len(chunk):
            if not self._open and not self._follows:
                mark = self._next(chunk, max(place, judged), words)
                start = lines_before(chunk, place, mark if mark >= 0 else len(chunk))
                self.lines += chunk.count(b"\n", place, start)
                place = start
                if mark < 0:
                    break
                for raw in chunk[place : chunk.rfind(b"\n", place, mark) + 1].split(b"\n")[:-1]:
                    place += len(raw) + 1
                    yield from self._line(raw, False, chunk, place)
            end = chunk.find(b"\n", place) + 1 or len(chunk)
            if 0 <= trigger < place:
                trigger = self._hits.next(place)
            stop = trigger if trigger >= 0 else len(chunk)
            passed = 0
            if chunk[place] >= _LETTERS:  # as the first line of a whole failure begins; most lines are frames
                between = self._between
                passed = self.repeated.passes(chunk, place, stop, between) if between or not self._open else 0
                alone = self._alone if not passed and _begins_block(chunk, place, end) else None
                if alone is not None:
                    passed, ended = self.tests.passes(chunk, place, alone, self.lines)
                    if ended:
                        self._open.clear()
                        self._follows = True
                        yield alone.close()
            if passed:
                self.lines += chunk.count(b"\n", place, passed)
                end = passed
            else:
                yield from self._line(chunk[place:end], stop < end, chunk, end)
                self._follows = False
            place = end
        self._held = chunk[place:]

    def _next(self, chunk: bytes, place: int, words: Words) -> int:
        """Where the next line is that may be of a failure; -1 for none."""
        while True:
            mark, word = self._hits.next(place), words.next(place)
            if mark < 0 or 0 <= word < mark:
                mark = word
            place = self.alike.passes(chunk, mark) if mark >= 0 else 0
            if not place:
                return mark

    @property
    def _alone(self) -> Writer | None:
        """The only writer of the log, if a failure is open and nothing stands before its lines."""
        if len(self._writers) != 1 or self._writer or self._forms:
            return None
        writer = self._open.get("")
        return writer if writer is not None and writer.open is not None else None

    @property
    def _between(self) -> bool:
        """Whether the last line ended the failure of the only process that has one open: a line of its own begins the next."""
        if len(self._open) != 1:
            return False
        (writer,) = self._open.values()
        last = writer.open
        return (
            last is not None
            and last.raised
            and not last.idle
            and not writer.chained
            and last.lines[-1].text[:1].isalpha()
        )

    def end(self) -> Iterator[Failure]:
        """The failures that are still open at the end of the log."""
        self.lines += self._held.count(b"\n") + (not self._held.endswith(b"\n") and bool(self._held))
        for writer in self._open.values():
            yield writer.close()

    def _line(self, raw: bytes, triggered: bool, chunk: bytes, end: int) -> Sequence[Failure]:
        """The failures that end before one more line of a chunk; ``triggered`` where it has a trigger of a kind."""
        self.lines += 1
        ended: list[Failure] = []
        for line, anchor in self._read(raw, triggered, chunk, end):
            failure = self._take(line, anchor)
            if failure is not None:
                self.tests.ended(failure)
                ended.append(failure)
        if self.lines % LONGEST == 0:
            ended.extend(self._silent())
        return ended

    def _read(self, raw: bytes, triggered: bool, chunk: bytes, end: int) -> Iterable[tuple[Line, bool]]:
        """The lines that a raw line holds, and whether a failure is sure to be there."""
        if self._forms is not self._reader.forms:
            self._forms = self._reader.forms
            self._memory.clear()
            self._carried.clear()
            self.alike.clear()
        if known := self._memory.get(raw, self.lines):
            if known[1] and not self._open and not self._follows and self._may_be_passed(raw):
                self.alike.begun(raw)
            return (known,)
        if b"{" in raw and (carried := self._carried.get(raw, self.lines)):
            return carried
        text = raw.decode("utf-8", "replace")
        lines = self._reader.read(self.lines, text, partial(following, chunk, end))
        if len(lines) > 1:
            return self._many(raw, lines)
        triggered = triggered and not self.alike.is_dull(raw)
        hits = self._hits.between(end - len(raw), end) if triggered else ()
        line = lines[0]
        anchor = is_anchor(line, triggered, hits) if line.text in text else is_anchor_in(line)
        if self._reader.settled(text):
            self._memory.keep(raw, line, anchor)
            if not self._may_be_passed(raw):
                pass
            elif anchor and not self._open and not self._follows:
                self.alike.begun(raw)
            elif not anchor and (triggered or self._is_marked(raw, end)):
                self.alike.dull(raw)
        return ((line, anchor),)

    def _many(self, raw: bytes, lines: Sequence[Line]) -> Iterable[tuple[Line, bool]]:
        """The same of the lines that one raw line holds."""
        found = [(line, is_anchor_in(line)) for line in lines]
        if self._reader.knew and b"{" in raw:
            self._carried.keep(raw, found)
        return found

    def _may_be_passed(self, raw: bytes) -> bool:
        """Whether lines like it may only be counted; below a limit of recompilations stand its function and its reason."""
        return bool(self._forms) or _LIMIT not in raw

    def _is_marked(self, raw: bytes, end: int) -> bool:
        """Whether a line was read for a word of an exception's name alone; one with a trigger may lead to a failure elsewhere."""
        return bool(_MARK.search(raw)) and not self._hits.between(end - len(raw), end)

    def _take(self, line: Line, anchor: bool) -> Failure | None:
        """Give a line to its writer; the failure that ended before it, if one did."""
        name = line.writer
        if not name and line.bare:  # the rest of a message of many lines, or of a line that a terminal wrapped
            name = self._writer
        writer = self._writers.get(name)
        if writer is None:
            # Where every line seems to have a writer of its own, they are none.
            name = name if len(self._writers) < _WRITERS else ""
            writer = self._writers.setdefault(name, Writer(name))
        self._writer = name
        ended = writer.take(line, anchor)
        if writer.open is not None:
            self._open[name] = writer
        else:
            self._open.pop(name, None)
        return ended

    def _silent(self) -> Iterator[Failure]:
        """Failures of processes that have written nothing for long."""
        for name, writer in list(self._open.items()):
            if writer.open is not None and self.lines - writer.open.last > LONGEST:
                del self._open[name]
                yield writer.close()


def _begins_block(chunk: bytes, place: int, end: int) -> bool:
    """Whether a line may begin what gives one failure whenever it is there: a test's section, its summary, a limit."""
    sign = chunk[place]
    return sign in _OF_TESTS or (sign == _WARNS and chunk.find(_LIMIT, place, end) >= 0)
