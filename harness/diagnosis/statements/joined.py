"""Lines of code as one line: without comments and line ends, and without the space that stood around a line's end in brackets."""

import re
from collections.abc import Iterator, Sequence

_PIECE = re.compile(
    r"(?P<string>\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<comment>#[^\n]*)|(?P<end>\s*\\?\n\s*)|(?P<other>.)",
    re.DOTALL,
)
_OPENING, _CLOSING = "([{", ")]}"


def joined(lines: Sequence[str]) -> str:
    """The code of some lines on one line."""
    parts: list[str] = []
    ended = False
    for piece in _PIECE.finditer("\n".join(lines)):
        if piece["comment"] is not None:
            continue
        if piece["end"] is not None:
            ended = True
            continue
        text = piece[0]
        if ended and parts:
            parts = [_between("".join(parts).rstrip(), text)]
        parts.append(text)
        ended = False
    return "".join(parts).strip()


def _between(before: str, after: str) -> str:
    """What stands before a line's end, with a space where one is needed before what comes after it."""
    tight = before[-1:] in _OPENING or after[0] in _CLOSING or (after[0] == "." and not before[-1:].isdigit())
    return before if tight or not before else f"{before} "


def items(text: str) -> Iterator[str]:
    """The beginnings of a line: up to each comma, up to the bracket that what stands before the line has opened, and all of it."""
    depth = 0
    for piece in _PIECE.finditer(text):
        letter = piece["other"] or ""
        if depth == 0 and letter and letter in f",{_CLOSING}":
            yield text[: piece.start()].rstrip()
            if letter in _CLOSING:
                return
        depth += bool(letter) * ((letter in _OPENING) - (letter in _CLOSING))
    yield text
