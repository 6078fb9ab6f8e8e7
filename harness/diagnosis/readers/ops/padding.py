"""Whether names and lines of code speak of padding: of rounding up to a multiple, filling up or cutting off."""

import re

from harness.diagnosis.facts import Facts

# Each is a word of a name by itself: cutlass cuts nothing.
_BEGIN, _END = r"(?<![A-Za-z])(?i:un)?(?i:", r")(?![a-z])"
# What pads texts, images or a convolution pads no width of a layer.
_OTHERS = re.compile(
    r"(?<!\w)\w{0,60}pad(?:ding)?_(?:mask|idx|index|tokens?(?:_id)?|id|side|mode|value|sequences?)\b|\bpad(?:ding)?=|\balign_corners\b|\bpacked_padded\w*"
)
_FILLS = re.compile(
    rf"{_BEGIN}pad(?:s|ded|ding)?|align(?:s|ed|ing|ment)?|round(?:s|ed|ing)?_?up|capacity|buckets?|cdiv|ceil_?div{_END}"
    r"|\bF\.pad\(|\bconstant_pad_nd\b|(?<![\w)\]])(?<![\w)\]] )-[\w.()\[\]-]{1,60} ?% ?\w|// ?(?P<by>\w+) ?\* ?(?P=by)\b"
)
_CUTS = re.compile(
    rf"{_BEGIN}slice[ds]?|cut(?:s|ting)?|trim(?:s|med|ming)?|trunc(?:ate[ds]?)?|crop(?:s|ped)?|narrow(?:s|ed)?{_END}"
    r"|\[(?:\.\.\.|:) ?, ?:[\w.]{1,40}\]"
)


_LONGEST = 1000  # of a line that is looked at


def fills_up(text: str) -> bool:
    """Whether a name or a line of code speaks of padding: up to a multiple, a capacity or a bucket."""
    return bool(_FILLS.search(_OTHERS.sub("", text)))


def pads_or_cuts(text: str) -> bool:
    """Whether a name or a line of code speaks of padding or of cutting it off."""
    return fills_up(text) or bool(_CUTS.search(text))


def line_of(facts: Facts) -> str:
    """The user's line and the function that it stands in."""
    return f"{facts.function} {facts.code}"[:_LONGEST]
