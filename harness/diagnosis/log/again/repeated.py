"""Failures and lines that a log has without end, alike but for their numbers: most of them are only counted."""

import re

_RAISED = rb"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failure|Exceeded): "
# A whole failure, as Python prints one: its traceback, if it has one, and the exception's own line. Another follows at once.
_WHOLE = re.compile(
    rb"(?P<frames>Traceback \(most recent call last\):\n(?: [^\n]*\n){1,60})?" + _RAISED + rb"[^\n]*\n"
    rb"(?=Traceback \(most recent|" + _RAISED + rb")"
)
# How many of a form are read, and how many forms are told apart; the report keeps fewer of both.
READ, FORMS = 16, 512
# As many forms of single lines are told apart.
_LINES = 8192
_DIGITS = b"0123456789"
_ONE_DIGIT = bytes.maketrans(_DIGITS, b"0" * 10)


class Repeated:
    """The failures that were read, by their form: what is left of them without numbers."""

    def __init__(self) -> None:
        self.passed = 0  # failures that were only counted
        self._read: dict[bytes, set[bytes]] = {}

    def passes(self, chunk: bytes, place: int, stop: int, begins: bool) -> int:
        """The end of the failures from ``place`` on that are only to be counted; 0 where the first is to be read.

        ``stop`` is where the next text stands that a kind is known by. A failure is read where it is not sure that it ``begins``
        there: what stands before may be of it.
        """
        end = 0
        while (found := _WHOLE.match(chunk, end or place)) and not self._is_read(found, found.end() > stop, begins):
            self.passed += 1
            end = found.end()
        return end

    def _is_read(self, found: re.Match[bytes], known: bool, begins: bool) -> bool:
        """Whether too few of its form were read, or of forms; one that a kind may know is read in any case."""
        form = found[0].translate(None, _DIGITS)
        read = self._read.get(form)
        if read is None and len(self._read) < FORMS:
            read = self._read[form] = set()
        if read is None:
            return not begins or known or bool(found["frames"])
        if len(read) < READ:
            read.add(found[0])
            return True
        return not begins or found[0] in read


class Alike:
    """What was read of each form: that its lines have a trigger and no failure, or some lines that began one.

    Without it, a log that has a trigger in every line would have every line read.
    """

    def __init__(self) -> None:
        self.passed = 0  # lines that would have begun a failure, and were only counted
        self._dull: set[bytes] = set()
        self._begun: dict[bytes, set[bytes]] = {}

    def dull(self, raw: bytes) -> None:
        """Remember a line that has a trigger and no failure."""
        if len(self._dull) >= _LINES:
            self._dull.clear()
        self._dull.add(raw.rstrip(b"\n").translate(_ONE_DIGIT))

    def begun(self, raw: bytes) -> None:
        """Remember a line that began a failure."""
        raw = raw.rstrip(b"\n")
        form = raw.translate(None, _DIGITS)
        if form in self._begun or len(self._begun) < _LINES:
            self._begun.setdefault(form, set()).add(raw)

    def clear(self) -> None:
        """Forget all: what is a prefix has changed."""
        self._dull.clear()
        self._begun.clear()

    def is_dull(self, raw: bytes) -> bool:
        """Whether a line of this form was read and is no failure's."""
        return raw.rstrip(b"\n").translate(_ONE_DIGIT) in self._dull

    def passes(self, chunk: bytes, place: int) -> int:
        """The end of the line around ``place`` and of those like it at once, where none need be read; 0 where it is to be read."""
        end = chunk.find(b"\n", place)
        if end < 0 or not (self._dull or self._begun):
            return 0
        raw = chunk[chunk.rfind(b"\n", 0, place) + 1 : end]
        if raw.translate(_ONE_DIGIT) in self._dull:
            return _after(chunk, end + 1, raw)
        read = self._begun.get(raw.translate(None, _DIGITS), ())
        if len(read) < READ or raw in read:
            return 0
        after = _after(chunk, end + 1, raw)
        self.passed += (after - end - 1) // (len(raw) + 1) + 1
        return after


def _after(chunk: bytes, place: int, raw: bytes) -> int:
    """The end of the lines from ``place`` on that are the same as this one."""
    if not chunk.startswith(raw, place):  # as most are not
        return place
    line = raw + b"\n"
    while chunk.startswith(line, place):
        place += len(line)
    return place
