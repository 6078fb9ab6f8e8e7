"""What a text tells of a function that is compiled again: that it was, that it met the limit, or that the limit raised."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from harness.diagnosis.known.kinds import kinds
from harness.diagnosis.log.failures import Failure
from harness.diagnosis.log.lines import Line
from harness.diagnosis.log.texts import Joined, Texts
from harness.diagnosis.notation import LIMIT_INSIDE, LIMIT_IS_HARD, LIMIT_MET, RECOMPILING

# A failure, how often it is there, and who wrote it.
Counted = tuple[Failure, int, list[str]]
_FUNCTION = re.compile(
    r"(?:function: '|Recompiling function )(?P<name>[^\s'()]+)(?:' \(| in )(?P<file>[^()]{1,300}?):(?P<line>\d+)"
)
# What pytest prints of a test below its exception was written before that.
_CAPTURED = re.compile(r"-- Captured (?:stdout|stderr|log) ")
HARD = re.compile(LIMIT_IS_HARD)
_RAISED = re.compile(f"{LIMIT_IS_HARD}|{LIMIT_INSIDE}")


class Part(NamedTuple):
    """A failure, how often it is there, who wrote it, and the function.

    ``role`` is what it tells: again, limit, limit-raised, raised, raised-before (what it wrote stands below it), or none.
    """

    failure: Failure
    times: int
    writers: list[str]
    function: str
    role: str


def function_of(failure: Failure) -> str:
    """The function that a text says was compiled again, with its file and line; empty where it names none."""
    return _named(Joined.of(failure.lines).text)


def _named(text: str) -> str:
    match = _FUNCTION.search(text)
    return ":".join((match["name"], re.split(r"[\\/]", match["file"])[-1], match["line"])) if match else ""


def parts_of(counted: Counted) -> Iterator[Part]:
    """The failure as one part; recompilations of several functions that a process wrote by turns, one for each."""
    failure, times, writers = counted
    role = _role(failure)
    for one in _by_function(failure) if role == "again" else [failure]:
        yield Part(one, times, writers, function_of(one) if role else "", role)


def _role(failure: Failure) -> str:
    text = Joined.of(failure.lines).text
    if LIMIT_MET in text:
        role = "limit"
    elif failure.raised:
        role = ("raised-before" if _CAPTURED.search(text) else "raised") if _RAISED.search(text) else ""
    else:
        role = "again" if RECOMPILING in text else ""
    found = Texts.of(failure).match(kinds()) if role else None
    return role if found and found[0].kind.id == "recompile" else ""


def _by_function(failure: Failure) -> list[Failure]:
    blocks: dict[str, list[Line]] = {}
    for block in blocks_of(failure):
        blocks.setdefault(_named(Joined.of(block).text), []).extend(block)
    return [Failure(failure.writer, lines) for lines in blocks.values()] if len(blocks) > 1 else [failure]


def blocks_of(failure: Failure) -> list[list[Line]]:
    """The lines of each recompilation; those before the first are the first one's."""
    found: list[list[Line]] = [[]]
    for line in failure.lines:
        if RECOMPILING in line.text and any(RECOMPILING in before.text for before in found[-1]):
            found.append([])
        found[-1].append(line)
    return found
