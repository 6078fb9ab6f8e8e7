"""What pytest prints of failing tests: a section for each, and a line of its summary. Those alike are read once, and counted."""

import re
from collections.abc import Container, Iterator

from harness.diagnosis.log.again.blocks import Block, Key, limit_at
from harness.diagnosis.log.again.places import place_in
from harness.diagnosis.log.again.repeated import FORMS, READ
from harness.diagnosis.log.escapes import may_have_escapes
from harness.diagnosis.log.failures import LONGEST, Failure, Writer
from harness.diagnosis.log.forms import SUMMARY, is_exception
from harness.diagnosis.log.margins import without_margin

_HEADING = re.compile(rb"_{3,} [^\n]{1,200} _{3,}\n")
_NEXT = re.compile(rb"\n(?=_{3,} [^\n]{1,200} _{3,}\n)")
_LINE = rb"FAILED [^\s:]+\.py::\S[^\n]*\n"
_SUMMARY = re.compile(_LINE + rb"(?=(" + _LINE + rb"))")
_FILE, _TRACEBACK, _LIMIT = b'File "', b"Traceback (", b"torch._dynamo hit"
# Words of the lines that tell a failure from others, and numbers that differ from test to test.
_WORDS = re.compile(
    rb"Error|Exception|Failure|Interrupt|Exceeded|Hit|Reached|Mismatch|Unsupported|GuardOnData|Failed|expected size"
)
_ADDRESS = re.compile(rb"0x[0-9a-fA-F]+")
_DIGITS = b"0123456789"
_MOST_LINES, _LARGEST = 200, 1 << 15  # of a section
_TOLD = 300  # characters of a line that tell a failure
_MOST_BLOCKS, _MOST_MESSAGES = 2048, 8192  # that are remembered


class Sections:
    """Sections and lines of one log's pytest, by what each gave when it was read."""

    def __init__(self) -> None:
        self.left_out = 0  # failures that differ in numbers alone from many that were read
        self.full = False  # whether so many failures are held that a new one is left out in any case
        self.held: Container[tuple[str, ...]] = ()  # what tells each failure that is held, by `diagnose`
        self._keys: dict[tuple[str, ...], int] = {}
        self._room = _MOST_BLOCKS
        self._given: dict[Key, dict[Key, list[Failure]]] = {}
        self._again: dict[int, tuple[Failure, int]] = {}
        self._messages: set[bytes] = set()  # of lines of a summary that each began a failure
        self._reading: tuple[Block, int, list[Failure]] | None = None

    def again(self) -> Iterator[tuple[Failure, int]]:
        """Each failure that was there again, and how often."""
        yield from self._again.values()

    def again_by_key(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """The same of failures that are held, and that were read where nothing was remembered of them."""
        yield from self._keys.items()

    def ended(self, failure: Failure) -> None:
        """A failure ended while a block is read."""
        if self._reading and failure.first > self._reading[1]:
            self._reading[2].append(failure)

    def passes(self, chunk: bytes, place: int, writer: Writer, number: int) -> tuple[int, bool]:
        """The end of what is only to be counted from ``place`` on, and whether it ended the open failure; 0 for nothing.

        ``number`` is that of the line before ``place``, and ``writer`` is the only one of the log, with a failure open.
        """
        failure = writer.open
        assert failure is not None
        self._finish(failure, number)
        is_line = chunk.startswith(b"FAILED ", place)
        summarised = bool(SUMMARY.match(failure.lines[-1].text))
        if is_line and failure.raised and not summarised:
            return _dropped(chunk, place, failure.last + LONGEST - number), False
        if failure.doubled or writer.chained or (is_line and not summarised):
            return 0, False
        end, last = place, failure.lines[-1].text.encode() if is_line else b""
        own = failure.lines[-1].text.encode() if is_line else b""
        while block := (_line(chunk, end, last) if is_line else limit_at(chunk, end) or _section(chunk, end)):
            if is_line and block.key[0] == own and block.key not in self._given.get(block.form, {}):
                break  # the failure that is open is not held yet
            if (is_line and not self._begins(block.follower)) or not self._is_counted(block):
                break
            end, last = block.end, block.key[0]
        if end == place and block:
            self._reading = block, number, []
        return (end, is_line) if end > place else (0, False)

    def _finish(self, failure: Failure, number: int) -> None:
        """Remember what the block gave that was read just now."""
        if self._reading is None:
            return
        (block, start, given), self._reading = self._reading, None
        if number != start + block.lines:
            return
        given = [*given, failure] if failure.first > start else given
        if not given or any(one.doubled for one in given):
            return
        if self._room and (block.form in self._given or len(self._given) < FORMS):
            self._room -= 1
            self._given.setdefault(block.form, {})[block.key] = given
        if block.lines == 1 and len(self._messages) < _MOST_MESSAGES:
            self._messages.add(_message(block.form[0]))

    def _begins(self, line: bytes) -> bool:
        """Whether a line of a summary is known to begin a failure, which ends the one before."""
        form = line.translate(None, _DIGITS)
        return (form,) in self._given or _message(form) in self._messages

    def _is_counted(self, block: Block) -> bool:
        """Whether a block need not be read; it is counted then."""
        given = self._given.get(block.form, {})
        if (known := given.get(block.key)) is not None:
            if block.lines == 1 and len(known[0].lines) > 1:
                return False  # what followed it there was of no other failure
            for failure in known:
                self._again[id(failure)] = failure, self._again.get(id(failure), (failure, 0))[1] + 1
            return True
        is_left_out = self.full and block.lines == 1 and _message(block.form[0]) in self._messages
        if not is_left_out and not _are_many(given, block):
            return False
        key = (*(_told(line.decode(), block.lines == 1) for line in block.key), block.place)
        if key in self.held:
            self._keys[key] = self._keys.get(key, 0) + 1
        else:
            self.left_out += 1
        return True


def _are_many(given: dict[Key, list[Failure]], block: Block) -> bool:
    """Whether so many blocks that differ from this one in numbers alone gave a failure each that it needs no reading."""
    if len(given) < READ or any(len(one) != 1 for one in given.values()):
        return False
    if block.lines > 1:
        return True
    # Those alone that no other line was added to.
    return sum(len(one[0].lines) == 1 for one in given.values()) >= READ


def _section(chunk: bytes, place: int) -> Block | None:
    """The section at ``place``, if another follows it at once."""
    if not _HEADING.match(chunk, place):
        return None
    end = _NEXT.search(chunk, place, place + _LARGEST)
    if end is None:
        return None
    text = chunk[place : end.end()]
    lines = text.count(b"\n")
    if lines > _MOST_LINES or not text.isascii():
        return None
    key = tuple(_telling(text))
    plain = _ADDRESS.sub(b"", text) if b"0x" in text else text
    at = place_in(_upwards(text))
    form = plain.translate(None, _DIGITS), at.encode(), *(line.translate(None, _DIGITS) for line in key)
    return Block(end.end(), form, key, lines, place=at) if key else None


def _upwards(text: bytes) -> Iterator[str]:
    """The lines of a section, the last one first."""
    end = len(text)
    while end > 0:
        start = text.rfind(b"\n", 0, end - 1) + 1
        yield text[start:end].decode()
        end = start


def _telling(text: bytes) -> Iterator[bytes]:
    """The lines of a section that tell its failure from others."""
    end = 0
    for word in _WORDS.finditer(text):
        if word.start() < end:
            continue
        start = text.rfind(b"\n", 0, word.start()) + 1
        end = text.find(b"\n", word.start())
        line = text[start:end]
        plain = without_margin(line.decode())
        if is_exception(plain.lstrip()) or b"expected size" in line:
            yield line


def _line(chunk: bytes, place: int, last: bytes) -> Block | None:
    """The line of the summary at ``place``, if another follows it; neither that nor ``last`` is the same."""
    found = _plain(chunk, place)
    text = found[0].rstrip(b"\n") if found else b""
    if found is None or text == last or chunk.startswith(found[0], found.end()):
        return None
    return Block(found.end(), (text.translate(None, _DIGITS),), (text,), 1, found[1].rstrip(b"\n"))


def _plain(chunk: bytes, place: int) -> re.Match[bytes] | None:
    """A line of the summary that another follows, if nothing is escaped in it and it teaches no prefix."""
    found = _SUMMARY.match(chunk, place)
    return found if found is not None and _is_plain(found[0]) else None


def _is_plain(line: bytes) -> bool:
    """Whether nothing is escaped in a line and it teaches no prefix."""
    if _FILE in line or _TRACEBACK in line or _LIMIT in line:
        return False
    return not may_have_escapes(line.decode("utf-8", "replace"))


def _told(line: str, is_summary: bool) -> str:
    """What a line says that tells its failure: as much as `diagnose` takes of an exception's line, all of another."""
    text = without_margin(line).strip()
    return text if is_summary and "expected size" not in text else text[:_TOLD]


def _message(line: bytes) -> bytes:
    return line.partition(b" - ")[2]


def _dropped(chunk: bytes, place: int, most: int) -> int:
    """The end of lines of a summary that belong to no failure, since sections came before; 0 for none."""
    end = place
    while most > 0 and (found := _plain(chunk, end)):
        end, most = found.end(), most - 1
    return end if end > place else 0
