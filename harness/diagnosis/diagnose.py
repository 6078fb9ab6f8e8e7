"""From a log to a report: every failure read once, the same one of many processes told once."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import BinaryIO

from harness.diagnosis.diagnosis import OTHER, Diagnosis, Report
from harness.diagnosis.evidence import LOADING_FAILS, speaks_for
from harness.diagnosis.known.kinds import kinds
from harness.diagnosis.log.again.copies import is_copy
from harness.diagnosis.log.again.told import are_two, repeats
from harness.diagnosis.log.echoes import without_echoes
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import FRAME, QUIET, is_exception
from harness.diagnosis.log.lines import Line, LineReader
from harness.diagnosis.log.order import newest_first, turned
from harness.diagnosis.log.source import chunks
from harness.diagnosis.log.stream import Failures
from harness.diagnosis.log.texts import Texts
from harness.diagnosis.reading import diagnosed, named_in
from harness.diagnosis.surroundings import Surroundings

# More different failures than these are only counted, and of those that differ in numbers alone more than these.
LIMIT, OF_A_SORT = 50, 10
# How many are held before they are merged, and how many of those that a kind knows.
_FEW, _MANY = 8 * LIMIT, 16 * LIMIT
_SMALL = 1 << 20
# How far below one telling another of the same failure may begin that names the line which the first leaves out.
_NEAR = 2
_ATTENDS = re.compile(r", in \w*(?:attn|attention|rotary|rope|sdpa)")
_LOADING = re.compile(r"[Ll]oading [`'\"][\w.]+\.(?:weight|bias)\b|" + LOADING_FAILS)
_NUMBER = re.compile(r"\d+")
# Kinds that torch tells twice: a warning with the guard, then an exception without it; one exception and the next.
_TWICE = frozenset(("recompile", "constraint", "data-dependent", "view", "device-assert", "illegal-access"))


def diagnose(file: BinaryIO, name: str) -> Report:
    """Read a log to its end. Raises BadInput for one that is empty, binary or cannot be read."""
    pieces = chunks(file, name)
    start, more = _start(pieces)
    if more is None and newest_first(start):
        return _turned(_read([turned(start)], name))
    return _read(chain([start], more or ()), name)


def _start(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes] | None]:
    """The start of a log, and what follows it; None where it is all of it."""
    start = b""
    for piece in pieces:
        start += piece
        if len(start) >= _SMALL:
            return start, pieces
    return start, None


def _turned(report: Report) -> Report:
    """The report of a log whose lines were turned around, with the numbers that its lines have."""
    numbers = report.lines + 1

    def renumbered(one: Diagnosis) -> Diagnosis:
        first, last = one.lines
        return replace(one, lines=(numbers - last, numbers - first), line=numbers - one.line)

    return replace(report, failures=tuple(map(renumbered, report.failures)))


def _read(pieces: Iterable[bytes], name: str) -> Report:
    failures, around, found = Failures(), Surroundings(), _Found()
    failures.tests.held = found.failures
    start = b""
    for chunk in pieces:
        around.look(chunk)
        start = start + chunk if len(start) < _SMALL else start
        for failure in failures.read(chunk):
            found.take(failure)
            failures.tests.full = found.full
    for failure in failures.end():
        found.take(failure)
    for failure, times in failures.tests.again():
        found.take(failure, times)
    for key, times in failures.tests.again_by_key():
        found.again(key, times)
    if len(start) < _SMALL:
        found.take_whole(start) if not found.failures else found.take_load(start)
    found.left_out += failures.repeated.passed + failures.alike.passed + failures.tests.left_out
    diagnoses, left_out = found.diagnoses(around)
    versions = {package: tuple(known) for package, known in around.versions.items()}
    return Report(source=name, lines=failures.lines, versions=versions, failures=diagnoses, left_out=left_out)


class _Found:
    """The different failures of a log, each with how often it is there and who wrote it."""

    def __init__(self) -> None:
        self.failures: dict[tuple[str, ...], tuple[Failure, int, list[str]]] = {}
        self.sorts: dict[str, int] = {}
        self.left_out = 0

    @property
    def full(self) -> bool:
        """Whether no other failure is kept, whatever it is."""
        return len(self.failures) >= _MANY

    def take(self, failure: Failure, times: int = 1) -> None:
        """One more failure, or some; its text tells whether it is there already."""
        key = _key(failure)
        if key in self.failures:
            first, count, writers = self.failures[key]
            if failure.writer not in writers and is_copy(failure) and not is_copy(first):
                return
            if failure.writer not in writers and len(writers) < LIMIT:
                writers.append(failure.writer)
            self.failures[key] = first, count + times, writers
            return
        sort = _NUMBER.sub("", " ".join(key))
        self.sorts[sort] = self.sorts.get(sort, 0) + times
        if self.sorts[sort] <= OF_A_SORT and self._has_room(failure):
            self.failures[key] = failure, times, [failure.writer]
        else:
            self.left_out += times

    def again(self, key: tuple[str, ...], times: int) -> None:
        """A failure that is held was there some times more."""
        first, count, writers = self.failures[key]
        self.failures[key] = first, count + times, writers

    def _has_room(self, failure: Failure) -> bool:
        """Whether one more is kept: there are few yet, or not many and a kind knows this one."""
        held = len(self.failures)
        return held < _FEW or (held < _MANY and Texts.of(failure).match(kinds()) is not None)

    def take_whole(self, text: bytes) -> None:
        """A short text in which no line is a failure's for sure: a message that was wrapped, or pasted in pieces."""
        whole = Failure("", [line for line in _lines(text) if line.text.strip() and line.level not in QUIET])
        texts = Texts.of(whole)
        if whole.lines and (texts.match(kinds()) or named_in(texts)):
            self.take(whole)

    def take_load(self, text: bytes) -> None:
        """The frames of a load or of attention below the only failure of a short text, an issue's title that has none itself."""
        failures = [failure for failure, _, _ in self.failures.values()]
        bare = [failure for failure in failures if not any(FRAME.match(line.text) for line in failure.lines)]
        first = failures[0]
        above = [line for line in _lines(text) if line.number < first.last and _LOADING.search(line.text)]
        for failure in bare if len(bare) == len(failures) else ():
            failure.lines[:0] = [line._replace(number=failure.first) for line in above if line.number < failure.first]
        if len(failures) > 1 or not bare:
            return
        below = [line for line in _lines(text) if line.number > first.last and FRAME.match(line.text)]
        first.lines.extend(line for line in below if speaks_for("weights", line.text))
        first.lines.extend(line for line in below[-1:] if _ATTENDS.search(line.text))

    def diagnoses(self, around: Surroundings) -> tuple[tuple[Diagnosis, ...], int]:
        """What they are: of this family first, then in the order of the log; the number that is left out."""
        failures = without_echoes(self.failures.values())
        read = [(diagnosed(one, count, writers, around), is_copy(one)) for one, count, writers in failures]
        merged = list(_merged(read))
        if any(diagnosis.kind != "consequence" for diagnosis in merged):
            merged = [diagnosis for diagnosis in merged if diagnosis.kind != "consequence"]
        merged.sort(key=lambda one: (_rank(one), one.lines))
        return tuple(merged[:LIMIT]), self.left_out + max(0, len(merged) - LIMIT)


def _rank(one: Diagnosis) -> int:
    """First what is or may be of this family, then exceptions that only speak of widths, then all others."""
    if one.verdict == OTHER:
        return 2
    return 1 if one.kind == "exception" else 0


def _lines(text: bytes) -> Iterator[Line]:
    reader = LineReader()
    for number, raw in enumerate(text.decode("utf-8", "replace").split("\n"), 1):
        yield from reader.read(number, raw)


def _key(failure: Failure) -> tuple[str, ...]:
    """What tells a failure from others: its exceptions' lines, else its first lines."""
    texts = [line.text.strip() for line in failure.lines]
    found = [text[:300] for text in texts if is_exception(text) or "expected size" in text]
    return tuple(found or texts[:4])


def _merged(read: Iterable[tuple[Diagnosis, bool]]) -> Iterator[Diagnosis]:
    """One diagnosis for failures that say the same, the fuller text's. A copy, told by True, names no process of its own."""
    found: list[Diagnosis] = []
    copied: list[bool] = []
    for one, copy in read:
        place = next((n for n, other in enumerate(found) if _same(one, other)), None)
        if place is None:
            found.append(one)
            copied.append(copy)
        else:
            first, second = _raised((found[place], copied[place]), (one, copy))
            found[place], copied[place] = _joined(first, second), copied[place] and copy
    yield from found


def _raised(one: tuple[Diagnosis, bool], other: tuple[Diagnosis, bool]) -> tuple[Diagnosis, Diagnosis]:
    """Two diagnoses of one failure, without the process of the one that is a copy of the other."""
    (first, copy), (second, copy_too) = one, other
    if copy == copy_too:
        return first, second
    return replace(first, writers=() if copy else first.writers), replace(
        second, writers=() if copy_too else second.writers
    )


def _same(one: Diagnosis, other: Diagnosis) -> bool:
    """Whether two say the same: in numbers or of an op, one of them perhaps without; else in words."""
    if one.kind != other.kind or (one.op and other.op and one.op != other.op):
        return False
    if repeats(one.what, other.what):
        return True
    sizes, others = ({width.size for width in each.widths} for each in (one, other))
    if sizes or others or one.op or other.op or one.kind in _TWICE:
        return sizes == others or not sizes or not others
    if one.what == other.what:
        return True
    bare = not (one.user_line and other.user_line)  # a title has no frames, and so the stage of the kind alone
    return (one.stage == other.stage or bare) and bool(one.stage or one.kind == "reshape") and one.cause == other.cause


def _joined(one: Diagnosis, other: Diagnosis) -> Diagnosis:
    fuller, less = (other, one) if _fullness(other) > _fullness(one) else (one, other)
    writers = tuple(dict.fromkeys((*fuller.writers, *less.writers)))
    near = other.lines[0] - one.lines[1] <= _NEAR
    user_line = fuller.user_line or (less.user_line if near else "")
    two = one.kind not in _TWICE and are_two(one.what, other.what)
    count = one.count + other.count if two else max(one.count, other.count)
    return replace(fuller, count=count, writers=writers, user_line=user_line)


def _fullness(one: Diagnosis) -> tuple[bool, ...]:
    return tuple(map(bool, (one.widths, one.op, one.tokens, one.stage, one.phase, one.user_line)))
