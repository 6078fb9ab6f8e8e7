"""A text that was copied out of a terminal: lines that it broke at a fixed column are joined again.

The column is that of the frames that are broken there: a frame has a form of its own, so that a line is known to be half of one.
Lines as wide as that are joined with the next, unless a line of its own begins there.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.diagnosis.log.forms import is_exception
from harness.diagnosis.log.prefixes import known_prefix

_FRAME = re.compile(r'\s{0,8}File "[^"\n]+", line \d+(?:, in \S|,? ?i?n? ?$)')
_BEGINS = re.compile(
    r'(?:^|\s)(?:F|Fi|Fil|File|File "|File "[^"\n]*|File "[^"\n]+"(?:,|, l?i?n?e?(?: \d*,?(?: i?n? ?)?)?)?)$'
)
_CALLED, _NAME_ENDS = re.compile(r'\s*File "[^"\n]+", line \d+, in [\w.<>]+$'), re.compile(r"[\w.<>]+\s*$")
_NARROWEST, _WIDEST = 40, 300
_BETWEEN_WORDS = re.compile(r"[\s>]*File\s*$")  # so does a wrap between words break a frame whose path is long
_FEWEST = 2  # lines that are broken at the column, of which one is a frame's
# What begins a line of its own, whatever stands above it: code, headings, fences, rulers.
_OWN = re.compile(r"\s{2}|Traceback \(|```|<|During handling|The above exception|[=_─-]{5,}|#+ |\+-|$")
_RULER = re.compile(r"\W*[=_─-]{5}[^\n]*[=_─-]{5}\W*$")
_ENDED = re.compile(r"[.!?:;]$")
_SHORT = 3  # of a prefix that a broken line may begin with by chance: 0: tokens


class Unwrapped(NamedTuple):
    """A text without the breaks; ``numbers`` has, for each of its lines, the first line that it was and the last."""

    text: bytes
    numbers: tuple[tuple[int, int], ...]


def unwrapped(text: bytes) -> Unwrapped | None:
    """The text with its broken lines joined; None where no column is known at which a terminal broke lines."""
    if b"File" not in text:
        return None
    lines = text.decode("utf-8", "replace").split("\n")
    margins = [*_margins(lines)]
    column = _column(lines, margins)
    if not column:
        return None
    parts: list[str] = []
    numbers: list[tuple[int, int]] = []
    for number, line in enumerate(lines, 1):
        if number > 1 and (between := _between(lines, margins, number - 1, column)) is not None:
            parts[-1] += between + line.removeprefix(margins[number - 1]).rstrip("\r")
            numbers[-1] = numbers[-1][0], number
        else:
            parts.append(line)
            numbers.append((number, number))
    return Unwrapped("\n".join(parts).encode(), tuple(numbers))


def _margins(lines: Sequence[str]) -> Iterator[str]:
    """For each line what a quotation or a list puts before the lines of its traceback; the pieces of a broken line have it too."""
    margin = ""
    for line in lines:
        if "Traceback (" in line:
            margin = line[: len(line) - len(line.lstrip(" >\t"))]
        yield margin if line.startswith(margin) else ""


def _column(lines: Sequence[str], margins: Sequence[str]) -> int:
    """The column at which frames are broken; 0 where none is, where that is between words alone, or at many widths."""
    halves = [
        (len(line), inside)
        for place, line in enumerate(lines[:-1])
        if "Fi" in line and (inside := _is_broken(line, lines[place + 1], margins[place + 1])) is not None
    ]
    column = max((width for width, inside in halves if inside), default=0)
    if not _NARROWEST <= column <= _WIDEST or any(not column - 1 <= width <= column for width, _ in halves):
        return 0
    if any(_BETWEEN_WORDS.match(line) and len(line) < column - 1 for line in lines):
        return 0
    return column if _breaks(lines, margins, column) >= _FEWEST else 0


def _breaks(lines: Sequence[str], margins: Sequence[str], column: int) -> int:
    """How many lines are broken at a column."""
    return sum(_between(lines, margins, place, column) is not None for place in range(1, len(lines)))


def _is_broken(line: str, following: str, margin: str) -> bool | None:
    """Whether a line is the first half of a frame that was broken inside a word; None where it is no half, or has no other."""
    begun, rest = _BEGINS.search(line), following.removeprefix(margin)
    if _is_own(rest):
        return None
    if begun is None:
        return True if _CALLED.search(line) and _NAME_ENDS.match(rest) else None
    half = line[begun.start() :].lstrip()
    words, word = (bool(_FRAME.match(half + between + rest)) for between in (" ", ""))
    if not words and not word:
        return None
    return word and (half.count('"') == 1 or not words)


def _between(lines: Sequence[str], margins: Sequence[str], place: int, column: int) -> str | None:
    """What stood where the line at ``place`` was broken off the one before: nothing, or a lost space; None for no break."""
    before, rest = lines[place - 1].rstrip("\r"), lines[place].removeprefix(margins[place])
    if not column - 1 <= len(before) <= column or _is_own(rest) or _RULER.match(before):
        return None
    if len(before) == column:
        return ""
    return None if _ENDED.search(before) or rest.startswith((" ", "^", "~")) else " "


def _is_own(text: str) -> bool:
    """Whether a line of its own begins here, and no piece of the one above."""
    return bool(_OWN.match(text)) or is_exception(text) or known_prefix(text)[0] > _SHORT
