"""A guard on a value that only a run has: whether what it compares is rounded up to a multiple, as rows are that are filled up."""

import re
from dataclasses import dataclass, replace

from harness.diagnosis.diagnosis import UNDECIDED, Reading
from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.entry import read_entry
from harness.diagnosis.readers.ops.padding import fills_up, line_of
from harness.diagnosis.surroundings import Surroundings

_EXPRESSION = re.compile(
    r"expression (?:we were trying to evaluate is )?(?P<hinted>\S.{0,300}?)"
    r"(?: \(unhinted: (?P<unhinted>.{1,300}?)\)(?=\.|$| \()|\. |\.?$| (?:[Cc]aused by|consider|For more|Size-like)\b)"
)
# How torch writes a value that is rounded up, and a number of blocks of which the last is filled up.
_ADDED = re.compile(r"\+ (?P<less>\d+)\)*(?://|, )\(?(?P<step>\d+)\)")
_ROUNDED = (
    re.compile(r"\(-[^()]{1,60}\)+//(?P<step>\d+)"),
    re.compile(r"CeilToInt\((?:IntTrueDiv|FloatTrueDiv)?\(?.{1,80}?[,/] ?(?P<step>\d+)(?:\.0)?\)"),
    re.compile(r"Mod\(-[^(),]{1,60}, (?P<step>\d+)\)"),
    re.compile(r"bitwise_and\([^()]{1,60}\+ \d+, -(?P<step>\d+)\)"),
    re.compile(r"(?P<step>[a-z]\w*)\*\(+[^()]{0,60}- 1\)+//(?P=step)"),
)
_SIDES = re.compile(r"(?:Eq|Ne)\((?P<one>.*), (?P<two>[^,]*)\)$|(?P<left>.*?) (?:[<>]=?|==|!=) (?P<right>.*)$")
_OF_A_RUN, _SIZE = re.compile(r"(?<![a-zA-Z])z?u[f]?\d"), re.compile(r"s\d+$")
_VALUE = re.compile(r"(?<![a-zA-Z])z?uf?\d+")
# What may make such a value, or decide on one, at a line.
_MAKES = re.compile(
    r"\.(?:item|tolist|numpy|cpu|any|all|unique\w*|bincount|masked_select|nonzero|repeat_interleave)\b|nonzero|unique|where\(|mask"
    r"|bool|repeat_interleave|(?:^|\s)(?:if|elif|while|assert|not|and|or) |\b(?:int|float|range|max|min|len)\("
    r"|\[[^\[\]]*[<>=!]=?[^\[\]]*\]"
)
_LEAST_BLOCK = 8  # half of something, rounded up, is no padding
_PADDED = (
    " What is compared is rounded up to a multiple of {step}{other}: rows or columns are padded whose number only a run has, such "
    "as an expert's capacity, blocks of rows for a kernel, or a bucket."
)
_NAMED = (
    " The user's line speaks of padding, of a capacity or a bucket: it may be about rows or columns that are filled up."
)
_SILENT = "padding: nothing that is compared is rounded up to a multiple"
_SILENT_LINE = f"{_SILENT}, and the user's line has no word of it"
_LOOK = (
    "where that number comes from: one of shapes and constants (tokens x top_k, a fixed capacity, the largest bucket) is known to "
    "the trace; else torch._check tells the compiler what it may assume"
)


@dataclass(frozen=True, slots=True)
class _Guard:
    """An expression with the numbers of that call, and with symbols; the second is empty where the text lacks it."""

    hinted: str
    unhinted: str


def read_on_data(facts: Facts, around: Surroundings) -> Reading:
    """The entry's words, and what the expression or the user's line says of padding."""
    reading, guard = read_entry(facts, around), _guard(facts.whole)
    step = multiple_in(guard.hinted) or multiple_in(guard.unhinted)
    reading = replace(reading, look=_where(facts, guard) or reading.look)
    if not step and not fills_up(line_of(facts)):
        return replace(reading, against=(*reading.against, _SILENT_LINE if facts.code else _SILENT))
    more = _PADDED.format(step=step, other=_other(guard)) if step else _NAMED
    look = reading.look if facts.torch_place else _LOOK
    return replace(reading, verdict=UNDECIDED, cause=reading.cause + more, look=look)


def _where(facts: Facts, guard: _Guard) -> str:
    """Where the value comes from, if the text has no line that may make one; empty where it has, or where torch names a place."""
    named = _VALUE.search(f"{guard.unhinted} {guard.hinted}")
    if facts.torch_place or named is None or _MAKES.search(facts.code):
        return ""
    line = "; nothing at the user's line does" if facts.code else ""
    return (
        f"the line that makes {named[0]} (.item(), .tolist(), nonzero, a mask){line}: TORCH_LOGS=dynamic names it; torch._check "
        "after it tells the compiler what it may assume"
    )


def multiple_in(expression: str) -> str:
    """The multiple that an expression of torch's symbols rounds up to; empty for none."""
    for added in _ADDED.finditer(expression):
        step = int(added["step"])
        if int(added["less"]) == step - 1 > 0 and (step >= _LEAST_BLOCK or re.search(rf"(?<!\w){step}\*", expression)):
            return added["step"]
    found = next((one for form in _ROUNDED if (one := form.search(expression))), None)
    return found["step"] if found and found["step"] not in ("1", "2") else ""


def _guard(text: str) -> _Guard:
    found = _EXPRESSION.search(text)
    return _Guard(found["hinted"], found["unhinted"] or "") if found else _Guard("", "")


def _other(guard: _Guard) -> str:
    """In words, what the value of the run is compared with; empty where the text does not say."""
    hinted, unhinted = _known_side(guard.hinted), _known_side(guard.unhinted)
    if _SIZE.fullmatch(unhinted):
        of_call = f", {hinted} in that call" if hinted.isdigit() else ""
        return f" and compared with a size ({unhinted}{of_call})"
    return f" and compared with {hinted}" if hinted.isdigit() and int(hinted) > 1 else ""


def _known_side(expression: str) -> str:
    """The side of a comparison that has no value of the run."""
    found = _SIDES.match(expression.strip())
    sides = [side.strip() for side in found.groups() if side] if found else []
    known = [side for side in sides if not _OF_A_RUN.search(side)]
    return known[0] if len(known) == 1 and len(sides) == 2 else ""
