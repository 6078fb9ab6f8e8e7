"""The statement that failed in pytest's long form: a ``>`` stands before the line that ran, and the place below it all."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from harness.diagnosis.statements.whole import whole

_MARKS = re.compile(r"[\s^~─-]*$")
_PLACE = re.compile(r"[^\s\"':,()]+\.py:\d+: ?(?:in [\w.<>]+|[A-Z]\w*)?\s*$")
_RULER = re.compile(r"_ _ _ _|_{3,} .{1,200} _{3,}\s*$")
# How far above a place its line that ran stands: local variables and a message of many lines may come between.
_FAR = 400
_MARGIN = "    "  # what stands before source, where the line that ran has `>`


class Shown(NamedTuple):
    """A statement on one line, and where the text has its first line and the line that ran."""

    code: str
    first: int
    ran: int


def reported(texts: Sequence[str], quoted: Sequence[int], place: int) -> Shown | None:
    """The statement whose place is told at ``place``; None where no line above it is marked as the one that ran.

    ``quoted`` says of each line how many ``>`` were taken off it: one more than of the place is pytest's mark.
    """
    ran = next((at for at in _above(texts, place) if quoted[at] == quoted[place] + 1), None)
    if ran is None:
        return None
    start, end = _ends(texts, quoted, ran)
    source = [texts[at] if at != ran else f"  {texts[at]}" for at in range(start, end) if not _MARKS.match(texts[at])]
    marks = sum(bool(_MARKS.match(texts[at])) for at in range(start, ran))
    code, first = whole(source, ran - start - marks)
    return Shown(code or texts[ran].strip(), start + first + marks if code else ran, ran)


def _above(texts: Sequence[str], place: int) -> range:
    """The lines above a place, the nearest first, up to the next frame's end."""
    for at in range(place - 1, max(-1, place - _FAR), -1):
        if _RULER.match(texts[at]) or _PLACE.match(texts[at]):
            return range(place - 1, at, -1)
    return range(place - 1, max(-1, place - _FAR), -1)


def _ends(texts: Sequence[str], quoted: Sequence[int], ran: int) -> tuple[int, int]:
    """Where the source around a line starts, and where it ends: lines with its margin, none of them marked."""
    start, end = ran, ran + 1
    while start and texts[start - 1].startswith(_MARGIN) and quoted[start - 1] < quoted[ran]:
        start -= 1
    while end < len(texts) and (texts[end].startswith(_MARGIN) or not texts[end].strip()) and quoted[end] < quoted[ran]:
        end += 1
    return start, end
