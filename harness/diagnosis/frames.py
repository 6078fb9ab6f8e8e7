"""The frames of a traceback in a failure's lines, in each of the forms that they are printed in."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from harness.diagnosis.log.lines import Line
from harness.diagnosis.log.texts import broken_lines

_PYTHON = re.compile(r'File "(?P<file>[^"]+)", ?line (?P<line>\d+)(?:, ?in (?P<function>\S+))?')
_OTHERS = (
    re.compile(r"\s*File (?P<file>[^\s\"':,()]+\.py):(?P<line>\d+), in (?P<function>\w+)"),  # IPython
    re.compile(r"\s*(?P<file>[^\s\"':,()]+\.py):(?P<line>\d+) in (?P<function>[\w.<>]+)\s*$"),  # rich
    re.compile(r"(?P<file>[^\s\"':,()]+\.py):(?P<line>\d+): (?:in (?P<function>[\w.<>]+)|[A-Z]\w*(?:Error|Exception))\s*$"),
)
_STARTS = re.compile(r'File(?: *$| "(?!.*", ?line \d+,? *(?:in|$)))')
# The mark of the line that ran, in IPython and rich, and marks below a line.
_RAN = re.compile(r"\s*(?:-+>|❱)\s*(?P<line>\d+)\s*[│|]?\s*(?P<code>.*)")
_MARKS = re.compile(r"[\s^~─-]*$")
# How many lines a terminal makes of one frame at most, and how far below it the line that ran stands.
_PIECES, _NEAR = 6, 12


class Frame(NamedTuple):
    """One call: its file, the line, the function and the line's code; the last two may be empty."""

    file: str
    line: int
    function: str
    code: str


def frames_in(lines: Sequence[Line]) -> tuple[Frame, ...]:
    """The frames in lines of a log, in their order."""
    lines = [line for line in lines if line.text.strip()]
    goes_on = broken_lines(lines)
    found = (_frame_at(lines, place, goes_on) for place in range(len(lines)))
    return tuple(frame for frame in found if frame)


def _frame_at(lines: Sequence[Line], place: int, goes_on: Callable[[Line], bool]) -> Frame | None:
    text = lines[place].text
    if "File" in text:
        found, after = _python(lines, place)
        if found is not None:
            return _frame(found, _code(lines, after, goes_on))
    for form in _OTHERS if ".py:" in text else ():
        if found := form.match(text):
            return _frame(found, _marked(lines, place, found["line"]))
    return None


def _frame(found: re.Match[str], code: str) -> Frame:
    return Frame(found["file"], int(found["line"]), found["function"] or "", code)


def _python(lines: Sequence[Line], place: int) -> tuple[re.Match[str] | None, int]:
    """The frame that starts here, and the place of the line after it; a terminal may have broken it anywhere."""
    text = lines[place].text
    end = place + 1
    if _STARTS.search(text):
        text = text.rstrip() if text.rstrip().endswith("File") else text
        for end in range(place + 1, min(place + _PIECES, len(lines)) + 1):
            for joined in _joins([line.text for line in lines[place:end]]):
                if (found := _PYTHON.search(joined)) and _whole(found, joined):
                    return found, end
        end = place + 1
    return _PYTHON.search(text), end


def _joins(parts: Sequence[str]) -> tuple[str, str]:
    """Pieces of a line as one: broken anywhere, or between words."""
    return parts[0] + "".join(part.strip() for part in parts[1:]), " ".join(part.strip() for part in parts)


def _whole(found: re.Match[str], text: str) -> bool:
    """Whether the frame is all that the pieces hold, with its function."""
    return bool(found["function"]) and found.end() == len(text.rstrip())


def _code(lines: Sequence[Line], place: int, goes_on: Callable[[Line], bool]) -> str:
    """The code below a frame; empty where there is none."""
    if place >= len(lines) or _PYTHON.search(lines[place].text) or _MARKS.match(lines[place].text):
        return ""
    code = lines[place].text.strip()
    for line in lines[place + 1 : place + _PIECES]:
        if not goes_on(line) or _MARKS.match(line.text):
            break
        code += line.text.rstrip()
    return code


def _marked(lines: Sequence[Line], place: int, number: str) -> str:
    """The code of the line that ran, where it is marked below the frame, else the line below it."""
    for line in lines[place + 1 : place + _NEAR]:
        if (found := _RAN.match(line.text)) and found["line"] == number:
            return found["code"].strip()
    following = lines[place + 1].text if place + 1 < len(lines) else ""
    return following.strip() if following.startswith("    ") and not _RAN.match(following) else ""
