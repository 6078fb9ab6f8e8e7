"""The lines before an exception's own line that lead to it."""

import re

from harness.diagnosis.log.forms import FRAME, HEADING, PLACE, QUIET, TEST, TRACEBACK, UNENDED
from harness.diagnosis.log.lines import Line

# How far back frames without a heading are looked for, and how wide a line at least is where a terminal cuts it.
_CLOSE, _CUT = 30, 60
# How Dynamo begins a message of several lines, where the exception's name was not pasted.
_BEGINS, _MOST_OF_ONE = re.compile(r"\s*(?:Dynamo failed to run FX node|Failed running call_)"), 8
_RULES = ("_", "=")  # how a heading begins
_RULER = "_ _ _ _"  # pytest's, between frames


def leading(lines: list[Line]) -> list[Line]:
    """The lines before an exception's line that lead to it: its traceback, or the frames that are left of one."""
    for place in range(len(lines) - 1, -1, -1):
        text = lines[place].text
        if TRACEBACK in text:
            return lines[_start(lines, place) :]
        if text[:1] in _RULES and HEADING.match(text):
            return lines[place + 1 :]
    if shown := _shown(lines):
        return shown
    place = len(lines)
    while place and len(lines) - place < _CLOSE and _leads(lines, place - 1):
        place -= 1
    if any(FRAME.match(line.text) for line in lines[place:]):
        return lines[place:]
    begun = (at for at in range(max(0, len(lines) - _MOST_OF_ONE), len(lines)) if _BEGINS.match(lines[at].text))
    return [line for line in lines[max(0, min(next(begun, len(lines)), len(lines) - 2)) :] if line.level not in QUIET]


def _shown(lines: list[Line]) -> list[Line]:
    """The frames that pytest shows in its long form, the last of them up to the exception; empty where none is marked there.

    A test's heading may be too far above to be among the lines: they begin below the first ruler, thus with a whole frame.
    """
    ended = next((at for at in reversed(range(len(lines))) if _begins_section(lines[at].text)), -1)
    rulers = [at for at in range(ended + 1, len(lines)) if lines[at].text.startswith(_RULER)]
    last = lines[rulers[-1] + 1 :] if rulers else []
    marked = any(line.quoted == last[-1].quoted + 1 and line.text.startswith("  ") for line in last)
    return lines[rulers[0] + 1 :] if marked else []


def _begins_section(text: str) -> bool:
    """Whether a line is pytest's above a test or a part of its report."""
    return bool(TEST.match(text)) or text.startswith("=====")


def _start(lines: list[Line], place: int) -> int:
    """Where the traceback at ``place`` starts: at another one above where the same frames stand below both."""
    if not place:
        return 0
    first = next((at for at in range(place) if TRACEBACK in lines[at].text), place)
    above = {line.text for line in lines[first:place] if FRAME.match(line.text)}
    same = first + 1 == place or any(line.text in above for line in lines[place:])
    return first if same else place


def _leads(lines: list[Line], place: int) -> bool:
    """Whether a line can be of a traceback's end: indented, empty, or the rest of a line of it that was broken."""
    text = lines[place].text
    if not text.strip() or text[0] in " \t>" or text.startswith(_RULER) or PLACE.match(text):
        return True
    return place > 0 and _is_cut(lines[place - 1], lines)


def _is_cut(line: Line, lines: list[Line]) -> bool:
    """Whether a line goes on in the next: it is as wide as the terminal, or its file's name has no end."""
    if line.level in QUIET:
        return False
    wide = line.width >= _CUT and (line.text.startswith(" ") or line.width == max(other.width for other in lines))
    return wide or bool(UNENDED.search(line.text)) or line.text.rstrip().endswith(('.py",', " File"))
