"""What a log says of one width beside its failure: a call that pads to it, a test of experts of that width, a layer's size."""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

# A smaller number may be of anything.
_LEAST, _NEAR, _LONGEST_LINE = 256, 60, 1000
_MOST = 1000  # lines; a log of failures has one in each
_NUMBER = re.compile(r"\d{3}")
_MAY = re.compile(r"pad|moe|expert", re.I)
_WORDS = re.compile(
    r"(?<![A-Za-z])(?:un|re)?pad(?:s|ded|ding)?(?![A-Za-z])|(?<![A-Za-z])(?:fused)?moe(?![a-z])|MoE|(?<![a-z])experts?(?![a-z])",
    re.I,
)
# What is no width, and padding of something else.
_OTHERS = re.compile(
    r"token|batch|seq|request|vocab|position|image|length|(?<![a-z])len(?![a-z])|bucket|cache|prompt|sample|pixel|patch|audio"
    r"|pad(?:ding)?_?(?:id|idx|index|side|value|mode|mask|rows)(?![a-z])|(?:mask|id|row)s?_?pad",
    re.I,
)
_DENIED = re.compile(r"\b(?:not|no|never|without)\b|n't|\?", re.I)
_PATH = re.compile(r"\S*[/\\]\S*|\S+\.py\S*")
_PREFIX = re.compile(r"^(?:[>E] +)?")


def beside_in(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines that may say something of a width; one of many thousand letters is a whole log of its own."""
    telling = (line for line in lines if len(line) <= _LONGEST_LINE and _MAY.search(line) and _NUMBER.search(line))
    return tuple(islice(dict.fromkeys(telling), _MOST))


@lru_cache(maxsize=256)  # each failure of a log asks the same lines
def said_of(lines: tuple[str, ...], *sizes: int) -> str:
    """What the first line says of one of the sizes that has it near a word of padding or experts; empty where none does."""
    wanted = [size for size in sizes if size >= _LEAST]
    return next((said for line in lines for size in wanted if (said := _said(line, size))), "") if wanted else ""


def _said(line: str, size: int) -> str:
    if str(size) not in line:
        return ""
    line = _PATH.sub(lambda path: " " * len(path[0]), line.strip())
    for found in re.finditer(rf"(?<![\w.:-])(?<!line ){size}(?![\w.:])", line):
        start = max(0, found.start() - _NEAR)
        near = line[start : found.end() + _NEAR]
        if (word := _WORDS.search(near)) and not _OTHERS.search(near) and not _DENIED.search(near):
            return _quoted(line, min(start + word.start(), found.start()), max(start + word.end(), found.end()))
    return ""


def _quoted(line: str, start: int, end: int) -> str:
    """A short line whole; of a longer one the words from the word to the number."""
    whole = _PREFIX.sub("", line.strip())
    return whole if len(whole) <= 2 * _NEAR else line[start:end]
