"""The order of a log's lines: viewers of logs export the newest line first, which turns each traceback around."""

import re
from itertools import pairwise

_HEADING, _FRAME = b"Traceback (most", b'File "'
_TIME = re.compile(rb"(?<!\d)(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?")
_FEWEST = 2  # fewer times fall by chance


def newest_first(text: bytes) -> bool:
    """Whether the lines stand in the opposite order: the first frame of each traceback above its heading, and time runs back."""
    lines = [line for line in text.split(b"\n") if line.strip()]
    times = [found[0] for line in lines if (found := _TIME.search(line))]
    falls, rises = (
        sum(way(a, b) for a, b in pairwise(times) if len(a) == len(b)) for way in (bytes.__gt__, bytes.__lt__)
    )
    headings = [place for place, line in enumerate(lines) if _HEADING in line]
    if not headings:  # most lines have a time of their own, as those of a message that was written at once do not
        return not rises and falls >= _FEWEST and len(times) > 0.9 * len(lines)
    above = any(_is_frame(lines[place - 1]) for place in headings if place)
    below = any(_is_frame(lines[place + 1]) for place in headings if place + 1 < len(lines))
    return above and not below and falls >= rises


def turned(text: bytes) -> bytes:
    """The lines in the order in which they were written."""
    return b"\n".join(reversed(text.removesuffix(b"\n").split(b"\n"))) + b"\n" * text.endswith(b"\n")


def _is_frame(line: bytes) -> bool:
    return _FRAME in line and _HEADING not in line
