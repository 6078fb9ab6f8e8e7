"""Long lines of generated Python, broken after a comma or an operator inside brackets."""

import io
import tokenize

WIDTH = 118
_INDENT = "    "


def wrapped(text: str) -> str:
    """A program with no line longer than WIDTH where brackets allow a break."""
    breaks = _breaks(text)
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        lines += _broken(line, breaks.get(number, []))
    return "\n".join(lines)


def _breaks(text: str) -> dict[int, list[int]]:
    """For each line the columns after a comma inside brackets."""
    depth, found = 0, dict[int, list[int]]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.OP:
            continue
        depth += (token.string in "([{") - (token.string in ")]}")
        if token.string == "," and depth:
            found.setdefault(token.end[0], []).append(token.end[1])
    return found


def _broken(line: str, columns: list[int]) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())] + _INDENT
    pieces, start = [], 0
    while len(line) - start + (len(indent) if start else 0) > WIDTH:
        room = start + WIDTH - (len(indent) if start else 0)
        fitting = [column for column in columns if start < column <= room and column < len(line)]
        if not fitting:
            break
        pieces.append((indent if start else "") + line[start : fitting[-1]].strip(" " if start else ""))
        start = fitting[-1]
    return [*pieces, (indent if start else "") + (line[start:].strip() if start else line)]
