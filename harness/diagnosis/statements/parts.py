"""Lines that have only a part of a statement: CPython prints the first line of several, and a paste may break one."""

import ast
import re
from collections.abc import Sequence

from harness.diagnosis.statements.joined import joined

REST = "_rest"  # stands for what the text leaves out
_LEADING = re.compile(r"^(?:return|assert|yield|await|elif|if|while)\b\s*")
_OPERATOR = re.compile(r"(?:[-+*/%@&|^<>=.]|\b(?:and|or|not|in|is))$")
_STARTS = re.compile(r"(?:[*/@+-]|\*\*|//|[<>]=?|[=!]=|[&|^])\s+\S")
# A name alone raises nothing: it begins a statement of several lines, or is a part of one.
_NAME = re.compile(
    r"(?:return\s+|[\w.]+\s*=\s*)?(?!(?:pass|raise|break|continue|else|try|finally|return)\b)[A-Za-z_][\w.]*$"
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def parsed(code: str) -> ast.AST | None:
    """The tree of a line; of a part of a statement with a name in the place of what is missing. None where it cannot be read."""
    bare = _LEADING.sub("", code).rstrip().rstrip(":")
    if bare.startswith("."):  # a call in a chain of several lines
        bare = f"{REST}{bare}"
    completed = _completed(bare)
    for text in (code, code.rstrip().rstrip(":"), bare, _completed(code), completed, f"{{{completed}}}"):
        try:
            return ast.parse(text.strip())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def is_part(code: str) -> bool:
    """Whether a line is only a part of a statement: brackets are open, an operator or a comma is the last, a name stands alone.

    So is one that begins with a dot.
    """
    text = code.rstrip().rstrip("\\").rstrip()
    opened, end = _brackets(text)
    cut = opened or end < len(text) or text.endswith(",") or ends_open(text) or text.startswith(".")
    return bool(text) and bool(cut or _NAME.match(text))


def ends_open(code: str) -> bool:
    """Whether a line ends with an operator whose right side is missing."""
    return bool(_OPERATOR.search(code.rstrip().rstrip("\\").rstrip()))


def continued(code: str, below: Sequence[str]) -> str:
    """The statement that begins with a line, as far as the lines below it plainly go on with it; else the line as it is.

    So they do where the whole is a statement that the line alone was not. ``below`` ends where something else begins.
    """
    if not below or not (is_part(code) or _STARTS.match(below[0].strip())):
        return code
    text = code.rstrip().rstrip("\\").rstrip()
    opened = bool(_brackets(text)[0]) or ends_open(text)
    for number, line in enumerate(below, 1):
        if not opened and not _STARTS.match(line.strip()):
            break
        text = joined((code, *below[:number]))
        if not is_part(text) and _reads(text) and (opened or number == len(below)):
            return text
    return code


def _reads(text: str) -> bool:
    try:
        ast.parse(_LEADING.sub("", text).rstrip().rstrip(":").strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _completed(code: str) -> str:
    """A line up to a bracket that it does not open, with a name behind its last operator, and with its brackets closed."""
    text = code.rstrip().rstrip("\\").rstrip()
    opened, end = _brackets(text)
    text = text[:end].rstrip()
    name = REST if text.endswith(".") else f" {REST}"
    return text + (name if _OPERATOR.search(text) else "") + "".join(_CLOSING[one] for one in reversed(opened))


def _brackets(text: str) -> tuple[list[str], int]:
    """The brackets that a line leaves open, and where one closes that it did not open; its length where none does."""
    opened: list[str] = []
    quote = ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _CLOSING:
            opened.append(letter)
        elif letter in _CLOSING.values() and (not opened or _CLOSING[opened.pop()] != letter):
            return [], place
    return opened, len(text)
