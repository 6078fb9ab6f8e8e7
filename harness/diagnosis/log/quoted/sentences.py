"""What of a message stands above or below its line: torch prints some on two, and a paste wraps one at its width."""

import re
from collections.abc import Sequence

from harness.diagnosis.log.forms import BELOW, FRAME, HEADING, TRACEBACK, is_exception
from harness.diagnosis.log.lines import Line
from harness.diagnosis.log.texts import broken_lines, without_frames

# How many lines above one may begin what it ends, and how many a wrap makes of one.
_ABOVE, _BELOW = 8, 12
# The frames of a text that was wrapped between words.
_CUT_FRAME = re.compile(r'\s*File\s*$|\s*File "[^"]+(?:",? ?(?:line)?(?: ?\d+,)?(?: in)?)?\s*$')
_FEWEST, _NARROWEST = 2, 60
_PANEL = re.compile(r"[╰└]─{20,}")
# A line that ends a sentence, and one that begins another.
_ENDED, _BEGINS = re.compile(r"[.!?:;]\s*$"), re.compile(r"\s{2}|\t|[A-Z/]")


def begun_above(lines: Sequence[Line], number: int, text: str) -> str:
    """What the lines above have of a message whose line closes brackets that it did not open; empty where none opens them.

    An exception's own line begins its message: the source of a frame that stands above it is no part of that.
    """
    told = {line.number for line in without_frames(lines)}
    before = [line for line in lines if line.number < number][-_ABOVE:]
    found, begun = "", is_exception(text.lstrip())
    for line in reversed(before):
        if not _closes(found + text):
            return found
        if begun or line.number not in told or FRAME.match(line.text) or TRACEBACK in line.text:
            return ""
        found, begun = f"{line.text.strip()} {found}", is_exception(line.text.lstrip())
    return "" if _closes(found + text) else found


def _closes(text: str) -> bool:
    depth = 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0:
            return True
    return False


def wrapped_below(lines: Sequence[Line], number: int) -> str:
    """The rest of a message that goes on in the lines below because the text was wrapped at its width; empty where it was not."""
    present = [line for line in lines if line.text.strip()]
    width = max(line.width for line in present)
    between_words = width >= _NARROWEST and sum(bool(_CUT_FRAME.match(line.text)) for line in present) >= _FEWEST
    panel = _panel_above(lines, number)
    broken, rest = broken_lines(present), ""
    last = next((line for line in reversed(lines) if line.number == number), None)
    for line in [line for line in lines if line.number > number][:_BELOW]:
        text = line.text
        if last is None or line.number != last.number + 1 or _is_another(text):
            break
        full = (between_words or panel) and line.bare and last.width + 1 + len(text.split()[0]) > (panel or width)
        full = full and not (panel and (_ENDED.search(last.text) or _BEGINS.match(text)))
        if not full and not (broken(line) and not _ENDED.search(last.text) and not _BEGINS.match(text)):
            break
        rest += text.rstrip() if text.startswith(" ") or not full else f" {text.rstrip()}"
        last = line
    return rest


def _panel_above(lines: Sequence[Line], number: int) -> int:
    """The width of a panel that ends right above a message, 0 for none: who draws it wraps the message there, or further right."""
    return next((line.width for line in lines if line.number == number - 1 and _PANEL.match(line.text)), 0)


def _is_another(text: str) -> bool:
    """Whether a line begins something else than a message's rest."""
    return (
        not text.strip()
        or bool(FRAME.match(text) or BELOW.match(text) or HEADING.match(text))
        or is_exception(text.lstrip())
    )
