"""When two messages are one failure that the log tells twice, and when they are two failures.

Two messages are one failure where the one repeats the other, number for number, with other words before it: C++ says so again
when it ends the process, below `what():`. They are one as well where other words say the same of the same sizes: a title and its
traceback, eager code and a trace. They are two where the words are the same and a number differs, such as the rows: each was
raised by itself.
"""

import re
from functools import lru_cache

_NUMBER = re.compile(r"\d+")
# What stands before a message: all up to an exception's name, and what a logger puts in brackets.
_BEFORE = re.compile(r"(?:.*(?:Error|[Ee]xception)'?: )?(?:\s*\[[^\]]{1,120}\])*\s*", re.DOTALL)
_CUT, _SHORT = "...", 40  # what a shortened message ends with, and what is too short to be known again
# The least end that two messages have in common behind other words each, and how many colons of such words are passed over.
_END, _COLONS = 16, 8


def repeats(one: str, other: str) -> bool:
    """Whether two messages are the same but for what stands before them, and for the end of one that is shortened."""
    short, long = sorted((bare(one), bare(other)), key=len)
    if len(short) < _SHORT:
        return False
    return short == long or (_CUT in (one[-3:], other[-3:]) and long.startswith(short))


def are_two(one: str, other: str) -> bool:
    """Whether two messages have the same words and other numbers."""
    if one != other and bare(one) == bare(other):
        return False  # too short to be known again elsewhere, but told with other words before it
    return not repeats(one, other) and _NUMBER.sub("", bare(one)) == _NUMBER.sub("", bare(other))


def logs(one: str, other: str) -> bool:
    """Whether two messages are the same behind the words of whoever logged the one: ``start failed on rank 0: <message>``.

    Both may have such words, and either may be shortened.
    """
    first, second = bare(one), bare(other)
    if first in _ends(second) or second in _ends(first):
        return True
    cut = _CUT in (one[-3:], other[-3:])
    return any(_is_one(end, begun, cut) for end in _ends(first) for begun in _ends(second))


def _is_one(one: str, other: str, cut: bool) -> bool:
    """Whether two ends of messages are one, where they are long enough; one of the two may be shortened if ``cut`` says so."""
    short, long = sorted((one, other), key=len)
    return (short == long and len(short) >= _END) or (cut and len(short) >= _SHORT and long.startswith(short))


def _ends(message: str) -> list[str]:
    """A message, and what stands behind each of its first colons."""
    parts = message.split(": ", _COLONS)
    return [": ".join(parts[place:]) for place in range(len(parts))]


@lru_cache(maxsize=1024)
def bare(message: str) -> str:
    """A message without what stands before it: an exception's name, and what a logger puts in brackets."""
    return _BEFORE.sub("", message, count=1).removesuffix(_CUT).rstrip()
