"""From a log to a report: every failure read once, the same one of many processes told once."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import BinaryIO

from harness.diagnosis.accounts.found import LIMIT, Found
from harness.diagnosis.accounts.limits import at_limits
from harness.diagnosis.accounts.merged import merged
from harness.diagnosis.accounts.recompiled import function_of
from harness.diagnosis.accounts.sanitized import with_reports
from harness.diagnosis.diagnosis import OTHER, Diagnosis, Report
from harness.diagnosis.evidence import LOADING_FAILS, speaks_for
from harness.diagnosis.known.kinds import kinds
from harness.diagnosis.log.again.copies import is_copy
from harness.diagnosis.log.echoes import without_echoes
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.forms import FRAME, QUIET
from harness.diagnosis.log.lines import Line, LineReader
from harness.diagnosis.log.order import newest_first, turned
from harness.diagnosis.log.quoted.named import named_in
from harness.diagnosis.log.source import chunks, without_fields
from harness.diagnosis.log.stream import Failures
from harness.diagnosis.log.terminal.columns import unwrapped
from harness.diagnosis.log.texts import Texts
from harness.diagnosis.reading import diagnosed
from harness.diagnosis.surroundings import Surroundings

_SMALL = 1 << 20
_ATTENDS = re.compile(r", in \w*(?:attn|attention|rotary|rope|sdpa)")
_LOADING = re.compile(r"[Ll]oading [`'\"][\w.]+\.(?:weight|bias)\b|" + LOADING_FAILS)


def diagnose(file: BinaryIO, name: str) -> Report:
    """Read a log to its end. Raises BadInput for one that is empty, binary or cannot be read."""
    pieces = chunks(file, name)
    start, more = _start(pieces)
    if more is None and newest_first(without_fields(start)):
        return _turned(_read([turned(start)], name))
    if more is None and (whole := unwrapped(without_fields(start))):
        lines = start.count(b"\n") + (not start.endswith(b"\n"))
        return _renumbered(replace(_read([whole.text], name), lines=lines), whole.numbers)
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
    return _renumbered(report, [(number, number) for number in range(report.lines, 0, -1)])


def _renumbered(report: Report, numbers: Sequence[tuple[int, int]]) -> Report:
    """The report with the numbers that the lines have in the log: for each that was read, of the first and the last that it was."""

    def renumbered(one: Diagnosis) -> Diagnosis:
        first, last = (numbers[line - 1] for line in one.lines)
        return replace(one, lines=(min(first + last), max(first + last)), line=numbers[one.line - 1][0])

    return replace(report, failures=tuple(map(renumbered, report.failures)))


def _read(pieces: Iterable[bytes], name: str) -> Report:
    failures, around, found = Failures(), Surroundings(), Found(_is_known)
    failures.tests.held = found.failures
    start = b""
    for piece in pieces:
        around.look(piece)  # a job's name may be that of a model
        chunk = without_fields(piece)
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
        _take_whole(found, start) if not found.failures else _take_load(found, start)
    found.left_out += failures.repeated.passed + failures.alike.passed + failures.tests.left_out
    diagnoses, left_out = _diagnoses(found, around)
    versions = {package: tuple(known) for package, known in around.versions.items()}
    return Report(source=name, lines=failures.lines, versions=versions, failures=diagnoses, left_out=left_out)


def _rank(one: Diagnosis) -> int:
    """First what is or may be of this family, then exceptions that only speak of widths, then all others."""
    if one.verdict == OTHER:
        return 2
    return 1 if one.kind == "exception" else 0


def _lines(text: bytes) -> Iterator[Line]:
    reader = LineReader()
    for number, raw in enumerate(text.decode("utf-8", "replace").split("\n"), 1):
        yield from reader.read(number, raw)


def _is_known(failure: Failure) -> bool:
    return Texts.of(failure).match(kinds()) is not None


def _take_whole(found: Found, text: bytes) -> None:
    """A short text in which no line is a failure's for sure: a message that was wrapped, or pasted in pieces."""
    whole = Failure("", [line for line in _lines(text) if line.text.strip() and line.level not in QUIET])
    texts = Texts.of(whole)
    if whole.lines and (texts.match(kinds()) or named_in(texts)):
        found.take(whole)


def _take_load(found: Found, text: bytes) -> None:
    """The frames of a load or of attention below the only failure of a short text, an issue's title that has none itself."""
    failures = [failure for failure, _, _ in found.failures.values()]
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


def _diagnoses(found: Found, around: Surroundings) -> tuple[tuple[Diagnosis, ...], int]:
    """What they are: of this family first, then in the order of the log; the number that is left out."""
    failures = with_reports(at_limits(without_echoes(found.counted())))
    read = (
        (diagnosed(one, count, writers, around), is_copy(one), function_of(one)) for one, count, writers in failures
    )
    answers = [*merged(read)]
    if any(answer.kind != "consequence" for answer in answers):
        answers = [answer for answer in answers if answer.kind != "consequence"]
    answers.sort(key=lambda one: (_rank(one), one.lines))
    return tuple(answers[:LIMIT]), found.left_out + max(0, len(answers) - LIMIT)
