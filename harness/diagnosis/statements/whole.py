"""The whole statement of a line that ran, of the source around it that a report shows: as pytest's long form does."""

import ast
import textwrap
from collections.abc import Sequence

from harness.diagnosis.statements.joined import items, joined

# How many lines above the one that ran a statement begins at most.
_ABOVE = 40


def whole(source: Sequence[str], ran: int) -> tuple[str, int]:
    """The statement in which line ``ran`` stands, on one line, and the line that it begins with.

    ``source`` ends with the statement, as it does in a report; it may begin anywhere. Where it does not begin before the
    statement, as of a lambda in a call or a dictionary, what is whole from ``ran`` on is taken. Empty where nothing is.
    """
    for first in range(ran, max(-1, ran - _ABOVE), -1):
        if (not first or not source[first - 1].rstrip().endswith("\\")) and _is_one(source[first:]):
            return joined(source[first:]), first
    for first in range(ran, max(-1, ran - _ABOVE), -1):
        if part := _item(source, first, ran):
            return part, first
    return "", ran


def _item(source: Sequence[str], first: int, ran: int) -> str:
    """What is whole from a line on and has the one that ran: an entry of a call, a list or a dictionary; empty for none."""
    least = len(joined(source[first:ran])) + 1
    parts = (part for part in items(joined(source[first:])) if len(part) > least)
    return next((part for part in parts if any(_is_one([text]) for text in (part, f"{{{part}}}", f"f({part})"))), "")


def _is_one(lines: Sequence[str]) -> bool:
    """Whether lines are one statement, or the head of one that has a body."""
    text = textwrap.dedent("\n".join(lines)).strip()
    if text.startswith("elif"):
        text = text[2:]
    tree = _tree(text) or (_tree(f"{text}\n    pass") if text.rstrip().endswith(":") else None)
    return tree is not None and len(tree.body) == 1


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
