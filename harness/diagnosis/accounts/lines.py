"""Whether two answers tell two lines of the user's, so that they are two failures though their messages are alike."""

import re
from functools import lru_cache
from typing import NamedTuple

from harness.diagnosis.diagnosis import Diagnosis
from harness.diagnosis.log.again.told import are_two, repeats

_LINE = re.compile(r"(?P<file>.+?):(?P<number>\d+)(?:: (?P<code>.*))?", re.DOTALL)
# Kinds that are reported later than they happen, at whatever line comes to wait.
_LATER = frozenset(("device-assert", "illegal-access"))
# Kinds of which torch gives an account for each function that it compiles, and raises at the line that called it.
_CALLED = frozenset(("recompile",))
# A line of a statement says enough to be known in the whole of it where it has so many letters.
_ENOUGH, _SHORTEST_LINE = 12, 6
# A line that only tells again what was raised elsewhere.
_RAISES = re.compile(
    r"raise\b|(?:[\w.]+ = |return )?(?:[\w.]*(?:fail|reraise)\(.*|[\w.]+\.(?:result|get|wait|join)\((?:timeout=)?[\w.]*\)$)"
)


class _Line(NamedTuple):
    file: str
    number: int
    code: str


def are_apart(one: Diagnosis, other: Diagnosis) -> bool:
    """Whether two failures of one kind have two lines: other files, or other statements.

    A line that only raises again what was told, and one of a kind that is told late, tells no other place.
    """
    if not (one.user_line and other.user_line):
        return False
    first, second = _line_of(one.user_line), _line_of(other.user_line)
    if one.kind in _LATER or first is None or second is None:
        return False
    if one.kind in _CALLED and not (repeats(one.what, other.what) or are_two(one.what, other.what)):
        return False
    if _RAISES.match(first.code) or _RAISES.match(second.code):
        return False
    return not (_is_one_file(first, second) and _is_one_statement(first, second))


@lru_cache(maxsize=1024)
def _line_of(user_line: str) -> _Line | None:
    found = _LINE.fullmatch(user_line) if user_line else None
    return _Line(found["file"].replace("\\", "/"), int(found["number"]), found["code"] or "") if found else None


def _is_one_file(one: _Line, other: _Line) -> bool:
    """Whether two paths may be of one file: one is cut, relative, or of another host's directory."""
    if one.file.endswith(other.file) or other.file.endswith(one.file):
        return True
    names = {line.file.rpartition("/")[2] for line in (one, other)}
    return len(names) == 1 and one.number == other.number and one.code == other.code


def _is_one_statement(one: _Line, other: _Line) -> bool:
    """Whether two numbers are of one line, or of a statement and a line of it."""
    if one.number == other.number:
        return True
    first, later = sorted((one, other), key=lambda line: line.number)
    whole, line = ("".join(line.code.split()) for line in (first, later))
    near = (later.number - first.number) * _SHORTEST_LINE < len(whole)
    return near and len(line) >= _ENOUGH and line in whole and line != whole
