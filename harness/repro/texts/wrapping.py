"""Long lines of generated Python, broken inside brackets: after a comma, or before a word such as ``else`` where none is near."""

import ast
import io
import re
import tokenize
from typing import NamedTuple

WIDTH = 118
_INDENT = "    "
_FAR = 0.6  # a break further to the left would leave much of the line empty


_WORDS = frozenset(("if", "else", "and", "or", "for"))
_HEAD = re.compile(r"\s*(?:return |[\w.]+ = )")


def wrapped(text: str) -> str:
    """A program with no line longer than WIDTH where brackets allow a break; a long choice gets brackets of its own."""
    text = "\n".join(_bracketed(line) if len(line) > WIDTH else line for line in text.split("\n"))
    breaks = _breaks(text)
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        lines += _broken(line, breaks.get(number, _Breaks([], [])))
    return "\n".join(lines)


def _bracketed(line: str) -> str:
    """A line that returns or assigns a choice or a condition, with brackets around that."""
    head = _HEAD.match(line)
    try:
        value = ast.parse(line[head.end() :], mode="eval").body if head else None
    except SyntaxError:
        return line
    return f"{head[0]}({line[head.end() :]})" if head and isinstance(value, ast.IfExp | ast.BoolOp) else line


class _Breaks(NamedTuple):
    """Columns of a line inside brackets: after each comma with how deep it lies, and before each word."""

    commas: list[tuple[int, int]]
    words: list[int]


def _breaks(text: str) -> dict[int, _Breaks]:
    """Where the lines of a program may break, by their numbers."""
    depth, found = 0, dict[int, _Breaks]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
            if token.string == "," and depth:
                found.setdefault(row, _Breaks([], [])).commas.append((token.end[1], depth))
        elif token.type == tokenize.NAME and token.string in _WORDS and depth:
            found.setdefault(row, _Breaks([], [])).words.append(column)
    return found


def _broken(line: str, breaks: _Breaks) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())] + _INDENT
    pieces, start = [], 0
    while len(line) - start + (len(indent) if start else 0) > WIDTH:
        room = start + WIDTH - (len(indent) if start else 0)
        place = _place(breaks, start, min(room, len(line) - 1))
        if not place:
            break
        pieces.append((indent if start else "") + line[start:place].strip(" " if start else "").rstrip())
        start = place
    return [*pieces, (indent if start else "") + (line[start:].strip() if start else line)]


def _place(breaks: _Breaks, start: int, room: int) -> int:
    """The column to break at: of the commas far to the right the outermost, then a word, then any comma; 0 for none."""
    commas = [(column, depth) for column, depth in breaks.commas if start < column <= room]
    far = [(-depth, column) for column, depth in commas if column > start + _FAR * (room - start)]
    if far:
        return max(far)[1]
    words = [column for column in breaks.words if start < column <= room]
    return max(words or [column for column, _ in commas], default=0)
