"""The order of a log's lines: viewers of logs export the newest line first, which turns each traceback around."""

import re

_HEADING, _FRAME = b"Traceback (most", b'File "'
_TIME = re.compile(rb"(?<!\d)(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?")


def newest_first(text: bytes) -> bool:
    """Whether the lines stand in the opposite order: the first frame of every traceback above its heading, and time runs backwards."""
    lines = [line for line in text.split(b"\n") if line.strip()]
    above = below = 0
    for place, line in enumerate(lines):
        if _HEADING in line:
            above += place > 0 and _is_frame(lines[place - 1])
            below += place + 1 < len(lines) and _is_frame(lines[place + 1])
    return above > below == 0 and _runs_backwards(lines)


def turned(text: bytes) -> bytes:
    """The lines in the order in which they were written."""
    lines = text.split(b"\n")
    last = lines.pop() if not lines[-1] else None
    return b"\n".join(reversed(lines)) + (b"\n" if last is not None else b"")


def _is_frame(line: bytes) -> bool:
    return _FRAME in line and _HEADING not in line


def _runs_backwards(lines: list[bytes]) -> bool:
    """Whether times fall more often than they rise, or never change."""
    times = [found[0] for line in lines if (found := _TIME.search(line))]
    falls = sum(a > b for a, b in zip(times, times[1:], strict=False) if len(a) == len(b))
    rises = sum(a < b for a, b in zip(times, times[1:], strict=False) if len(a) == len(b))
    return falls > rises or falls == rises == 0
