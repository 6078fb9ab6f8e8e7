"""What a log itself says of the rows that have no expert: which they are, and the id that they carry."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from harness.diagnosis.diagnosis import FAMILY, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.surroundings import Surroundings

# What is said of a text that names an index by ids, as the reader of faults and the data file's entries have it.
NOT_TOLD = "the text alone does not tell which rows have such an id; the ids at that line do"
# How the reader of faults begins the causes that there may be, and how the one begins that a text decides for.
_WOULD, _IS = "Of this family it would be: ", "Most likely it is "
_ROWS = (
    r"(?:(?:filler|fill(?:ing|ed)?|pad(?:ded|ding)?|dummy|empty|unused|inactive|masked|made-up)[ _-](?:rows?|tokens?|slots?)"
    r"|(?:rows?|tokens?|slots?) (?:\d[\d, :.-]*|(?:that|which) (?:fill|pad)\w*))"
)
_IDS = r"\b(?:topk_?|top-k |experts?[ _]?|(?<!token )(?<!input )(?<!position )(?<!block )(?<!slot ))(?:ids?|id[xs]s?|indices)\b"
_ID = r"(?<![\w.-])(?P<id>-?\d+)(?![\w.-]*\d)"
_BELOW_ZERO = _ID.replace("-?", "-")  # any other number may begin the words by chance
_NEAR = r"[^\n.;!?]{0,40}?"
_SAID = [
    re.compile(rf"(?<!\w){first}{_NEAR}{second}{_NEAR}{third}", re.I)
    for first, second, third in ((_ROWS, _IDS, _ID), (_IDS, _ROWS, _ID), (_IDS, _ID, _ROWS), (_BELOW_ZERO, _ROWS, _IDS))
]
_DENIED = re.compile(
    r"\b(?:no|not|never|none|without|if|whether|should|must|may|might|could|would|only)\b|n't|\?", re.I
)
_AN_ID, _LONGEST = re.compile(_IDS, re.I), 1000
# What an index is that is out of range, where a message has it as a number, and an assertion by which one below zero is none.
_OUT = re.compile(r"index (?P<id>-?\d+) is out of (?:bounds|range)")
_FROM_THE_END = re.compile(r">= ?-|-\w+(?:\[\w+\])? ?<= ?\w*(?:index|idx|ind)\b")


def with_rows_told(reading: Reading, facts: Facts, around: Surroundings) -> Reading:
    """The reading with the log's own words of the rows that have an id out of range, where it has some."""
    if NOT_TOLD not in reading.against:
        return reading
    lines = (*(line.text for line in facts.texts.lines), *_in_start(around.start))
    words = next((said for line in lines if (said := _told(line, facts.whole))), "")
    if not words:
        return reading
    against = tuple(text for text in reading.against if text != NOT_TOLD)
    one = reading.cause.count(_WOULD) == 1 and "; or" not in reading.cause.partition(_WOULD)[2]
    cause = reading.cause.replace(_WOULD, _IS) if one else reading.cause
    verdict = FAMILY if one or _WOULD not in cause else reading.verdict
    return replace(reading, verdict=verdict, against=against, cause=f'{cause} The text says of its rows: "{words}".')


@lru_cache(maxsize=4)
def _in_start(start: bytes) -> tuple[str, ...]:
    """The lines of a log's start that may speak of ids of rows."""
    lines: Iterable[str] = start.decode("utf-8", "replace").split("\n")
    return tuple(line for line in lines if _words(line))


def _told(line: str, whole: str) -> str:
    """What a line says of rows with an id that is out of range in this failure; empty for nothing."""
    found = _words(line)
    return found[0] if found and _is_out(int(found["id"]), whole) else ""


def _words(line: str) -> re.Match[str] | None:
    if len(line) > _LONGEST or not _AN_ID.search(line) or _DENIED.search(line):
        return None
    return next((said for form in _SAID if (said := form.search(line))), None)


def _is_out(number: int, whole: str) -> bool:
    """Whether an id is the one that a message names, or below zero where nothing counts from the end."""
    if named := _OUT.search(whole):
        return number == int(named["id"])
    return number < 0 and not _FROM_THE_END.search(whole)
