"""The message of a failure as an answer quotes it: whole sentences, and nothing of the lines around it."""

import re

from harness.diagnosis.known.kinds import Match, first_match
from harness.diagnosis.log.forms import goes_on
from harness.diagnosis.log.lines import Line
from harness.diagnosis.log.quoted.sentences import begun_above, wrapped_below
from harness.diagnosis.log.texts import Texts, broken_lines

_WORD_AT_END = re.compile(r"(?<!\S)[\w.]{1,60}$")
_REST = re.compile(r"[a-z0-9(\['\"]")  # how the rest of a message begins that was wrapped between words
_LONGEST, _BEGINNING, _MOST_BELOW = 420, 150, 4
_CUT = "..."


def message_of(texts: Texts, match: Match, number: int) -> str:
    """The line with the message, shortened, with what a wrap or torch broke off it; else what was understood."""
    line = _line(texts, match, number)
    spaced = " ".join(line.split())
    if match.wrapped and "".join(match.text.split()) in "".join(line.split()):
        pass  # no terminal broke it, though it ends where a line does
    elif match.wrapped or not line:
        place = texts.messages.text.find(match.text)
        line = texts.messages.text[max(0, place - 60) :] if place >= 0 else texts.messages.text
    elif match.text not in spaced and not _ends_in(texts, match, number, line):
        line = _through(texts, match, number, spaced) or match.text
    elif match.text in spaced:
        line = begun_above(texts.lines, number, line) + line + wrapped_below(texts.lines, number)
    return _shortened(line, match.text)


def _line(texts: Texts, match: Match, number: int) -> str:
    found = [_begun(texts, line) + line.text for line in texts.lines if line.number == number]
    return next((text for text in found if match.text in " ".join(text.split())), next(iter(found), "")).strip()


def _shortened(line: str, understood: str) -> str:
    """A message of bounded length: its beginning, or that and the end of what was understood where the one has not the other."""
    if len(line) <= _LONGEST:
        return line
    start, place = line[: _LONGEST - len(_CUT)], line.find(understood)
    end = min(len(line), place + len(understood) + len(_CUT))
    if place < 0 or end <= len(start):
        return start + _CUT
    head = line[:_BEGINNING].rpartition(" ")[0]
    tail = line[max(_BEGINNING, end - _LONGEST + _BEGINNING) : end].partition(" ")[2]
    return f"{head} {_CUT} {tail}{_CUT if end < len(line) else ''}"


def _through(texts: Texts, match: Match, number: int, line: str) -> str:
    """The line with those below it that a wrap between words made, to the end of what was understood; empty where it was none."""
    below = [one for one in texts.lines if number < one.number <= number + _MOST_BELOW]
    for one in below:
        if not one.bare or not one.text.strip():
            break
        line = f"{line} {' '.join(one.text.split())}"
        if match.text in line:
            return line
    return ""


def _ends_in(texts: Texts, match: Match, number: int, line: str) -> bool:
    """Whether the message ends with its line, which says the same alone: what follows is another line of the log."""
    alone = first_match(" ".join(line.split()), (match.kind,))
    if alone is None or alone.order != match.order:
        return False
    lines = [one for one in texts.lines if one.text.strip()]
    after = next((one for one in lines if one.number > number), None)
    if after is None or (len(_told(alone)) < len(_told(match)) and after.bare and _REST.match(after.text)):
        return False
    return not goes_on(after.text) and not broken_lines(lines)(after)


def _told(match: Match) -> dict[str, str]:
    """What a match has for the names of its pattern."""
    return {name: text for name, text in match.groups.items() if text}


def _begun(texts: Texts, line: Line) -> str:
    """The first letters of a word that a terminal broke off at the end of the line before; empty where it broke none."""
    before = next((one.text for one in texts.lines if one.number == line.number - 1), "")
    word = _WORD_AT_END.search(before)
    if word is None or not line.text[:1].isalnum() or not broken_lines(list(texts.lines))(line):
        return ""
    return word[0]
