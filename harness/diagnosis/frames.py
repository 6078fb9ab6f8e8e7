"""The frames of a traceback in a failure's lines, in each of the forms that they are printed in."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from harness.diagnosis.log.forms import EXCEPTION
from harness.diagnosis.log.lines import Line
from harness.diagnosis.log.texts import broken_lines
from harness.diagnosis.statements.named import NAMED
from harness.diagnosis.statements.parts import continued
from harness.diagnosis.statements.reported import reported

# A terminal may have broken it anywhere, so that its spaces may be gone.
_PYTHON = re.compile(r'File ?"(?P<file>[^"]+)", ?line ?(?P<line>\d+)(?:, ?in ?(?P<function>\S+))?')
_OTHERS = (
    re.compile(r"\s*File (?P<file>[^\s\"':,()]+\.py):(?P<line>\d+), in (?P<function>\w+)"),  # IPython
    re.compile(r"\s*(?P<file>[^\s\"':,()]+\.py):(?P<line>\d+) in (?P<function>[\w.<>]+)\s*$"),  # rich
    re.compile(  # pytest
        r"(?P<file>[^\s\"':,()]+\.py):(?P<line>\d+): ?(?:in (?P<function>[\w.<>]+)|[A-Z]\w*(?:Error|Exception)(?P<told>: .+)?)?\s*$"
    ),
)
_BEGUN = re.compile(r'File(?: *$| ?"(?!.*", ?line ?\d+(?:, ?in ?\S|,? *$)))|File .*, ?line ?\d+, ?(?:in?)?\s*$')
_REST = re.compile(r"(?:, ?(?:in )?)?[\w.<>]+\s*$")
# The mark of the line that ran, in IPython and rich, and marks below a line.
_RAN = re.compile(r"\s*(?:-+>|❱)\s*(?P<line>\d+)[\s│|]*(?P<code>.*)")
_MARKS = re.compile(r"[\s^~─-]*$")
# How many lines a terminal makes of one frame at most, and how far below it the line that ran stands.
_PIECES, _NEAR = 6, 12
# What torch writes behind the last line of a stack that stands within a message of its own.
_GOES_ON = re.compile(r"\. To prevent overwriting, .*")
_LONGEST = 80  # lines of a statement with the marks under each


class Frame(NamedTuple):
    """One call: its file, the line, the function and the line's code; the last two may be empty."""

    file: str
    line: int
    function: str
    code: str


def frames_in(lines: Sequence[Line]) -> tuple[Frame, ...]:
    """The frames in lines of a log, in their order."""
    return tuple(frame for _, frame in placed_frames(lines))


def placed_frames(lines: Sequence[Line]) -> tuple[tuple[int, Frame], ...]:
    """The frames in lines of a log, each with its place among those that are not blank."""
    lines = [line for line in lines if line.text.strip()]
    goes_on = broken_lines(lines)
    return tuple((place, frame) for place in range(len(lines)) for frame in _frames_at(lines, place, goes_on))


def named_frames(text: str) -> tuple[Frame, ...]:
    """The user's lines that messages of torch name outside a traceback, in a text of one line."""
    found = (form.search(text) for form in NAMED)
    return tuple(_frame(one, one["code"]) for one in found if one)


def _frames_at(lines: Sequence[Line], place: int, goes_on: Callable[[Line], bool]) -> list[Frame]:
    """The frame that begins on this line; several where a log lost the ends of its lines."""
    text = lines[place].text
    if "File" in text:
        several = [*_PYTHON.finditer(text)]
        if len(several) > 1:
            return [_frame(one, "") for one in several]
        found, after = _python(lines, place)
        if found is not None:
            return [_frame(found, _code(lines, after, goes_on))]
    for form in _OTHERS if ".py:" in text else ():
        if found := form.match(text):
            return [_shown(lines, place, found)]
    return []


def _frame(found: re.Match[str], code: str) -> Frame:
    return Frame(found["file"], int(found["line"]), found["function"] or "", _GOES_ON.sub("", code))


def _python(lines: Sequence[Line], place: int) -> tuple[re.Match[str] | None, int]:
    """The frame that starts here, and the place of the line after it."""
    text, end = lines[place].text, place + 1
    while _BEGUN.search(text) and end < min(place + _PIECES, len(lines)):
        text, end = text.rstrip() + lines[end].text.strip(), end + 1
    found = _PYTHON.search(text)
    if found is None:
        return _PYTHON.search(lines[place].text), place + 1
    return found, end


def _code(lines: Sequence[Line], place: int, goes_on: Callable[[Line], bool]) -> str:
    """The code below the frame that ends before ``place``; empty where there is none."""
    indented = lines[place - 1].text.startswith(" ") or not lines[place - 1].text.lstrip().startswith("File")
    if indented and place < len(lines) and _REST.match(lines[place].text):
        place += 1  # the end of the function's name
    if place >= len(lines) or not _is_code(lines[place].text, indented):
        return ""
    code = lines[place].text.strip()
    for line in lines[place + 1 : place + _PIECES]:
        if not goes_on(line) or _MARKS.match(line.text) or EXCEPTION.match(line.text):
            break
        code += line.text.rstrip()
    return continued(code, _below(lines, place)) if code == lines[place].text.strip() else code


def _below(lines: Sequence[Line], place: int) -> list[str]:
    """The lines below one of code without marks, which Python puts under each, up to an exception or the next frame."""
    found: list[str] = []
    for line in lines[place + 1 : place + _LONGEST]:
        if _PYTHON.search(line.text) or EXCEPTION.match(line.text.lstrip("E ")):
            break
        if not _MARKS.match(line.text):
            found.append(line.text)
    return found


def _is_code(text: str, indented: bool) -> bool:
    """Whether the line below a frame is its code; ``indented`` where the frame itself is, as Python prints it."""
    if _PYTHON.search(text) or _MARKS.match(text) or EXCEPTION.match(text.lstrip()):
        return False
    return text.startswith((" ", "\t")) or not indented


def _shown(lines: Sequence[Line], place: int, found: re.Match[str]) -> Frame:
    """The frame that is told at ``place``, with the code below it, else with what stands above it."""
    if found.groupdict().get("told"):
        return _frame(found, "")  # the line has the exception, and all of it
    if code := _marked(lines, place, found["line"]):
        return _frame(found, code)
    shown = reported([line.text for line in lines], [line.quoted for line in lines], place)
    if shown is None:
        return _frame(found, _above(lines, place))
    above = shown.ran - shown.first
    apart = lines[shown.ran].number - lines[shown.first].number
    frame = _frame(
        found, shown.code
    )  # the number of the line that ran, where what stands between is not the statement's alone
    return frame._replace(line=frame.line - above) if apart in (0, above) else frame


def _above(lines: Sequence[Line], place: int) -> str:
    """The last line of code above a frame's place, past marks and the exception; empty without one."""
    rest = (line.text for line in reversed(lines[:place]))
    above = next((text for text in rest if not (_MARKS.match(text) or EXCEPTION.match(text.lstrip()))), "")
    return above.strip() if above.startswith(" ") else ""


def _marked(lines: Sequence[Line], place: int, number: str) -> str:
    """The code of the line that ran, where it is marked below the frame, else the line below it."""
    for line in lines[place + 1 : place + _NEAR]:
        if (found := _RAN.match(line.text)) and found["line"] == number:
            return found["code"].strip()
    following = lines[place + 1].text if place + 1 < len(lines) else ""
    return following.strip() if following.startswith("    ") and not _RAN.match(following) else ""
