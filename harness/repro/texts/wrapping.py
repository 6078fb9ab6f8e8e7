"""Long lines of generated Python, broken inside brackets: after a comma, or before a word such as ``else`` where none is near."""

import ast
import io
import re
import tokenize

WIDTH = 118
_INDENT = "    "


_WORDS = frozenset(("if", "else", "and", "or", "for"))
_HEAD = re.compile(r"\s*(?:return |[\w.]+ = )")


def wrapped(text: str) -> str:
    """A program with no line longer than WIDTH where brackets allow a break; a long choice gets brackets of its own."""
    text = "\n".join(_bracketed(line) if len(line) > WIDTH else line for line in text.split("\n"))
    breaks = _breaks(text)
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        lines += _broken(line, *breaks.get(number, ([], [])))
    return "\n".join(lines)


def _bracketed(line: str) -> str:
    """A line that returns or assigns a choice or a condition, with brackets around that."""
    head = _HEAD.match(line)
    try:
        value = ast.parse(line[head.end() :], mode="eval").body if head else None
    except SyntaxError:
        return line
    return f"{head[0]}({line[head.end() :]})" if head and isinstance(value, ast.IfExp | ast.BoolOp) else line


def _breaks(text: str) -> dict[int, tuple[list[int], list[int]]]:
    """For each line the columns inside brackets after a comma, and those before a word at which a line may break."""
    depth, found = 0, dict[int, tuple[list[int], list[int]]]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
            if token.string == "," and depth:
                found.setdefault(row, ([], []))[0].append(token.end[1])
        elif token.type == tokenize.NAME and token.string in _WORDS and depth:
            found.setdefault(row, ([], []))[1].append(column)
    return found


def _broken(line: str, commas: list[int], words: list[int]) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())] + _INDENT
    pieces, start = [], 0
    while len(line) - start + (len(indent) if start else 0) > WIDTH:
        room = start + WIDTH - (len(indent) if start else 0)
        near = (start + room) // 2  # a break further to the left would leave most of the line empty
        fitting = [column for column in commas if start < column <= room and column < len(line)]
        if not fitting or fitting[-1] < near:
            fitting = [column for column in words if start < column <= room] or fitting
        if not fitting:
            break
        pieces.append((indent if start else "") + line[start : fitting[-1]].strip(" " if start else "").rstrip())
        start = fitting[-1]
    return [*pieces, (indent if start else "") + (line[start:].strip() if start else line)]
