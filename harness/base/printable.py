"""Text of somebody else's code, made safe to show: control characters escaped, and a limit on its length."""

import unicodedata
from typing import Any

# A line of a message. An exception of 100 MB would otherwise fill the terminal, the record and the memory of every reader.
LONGEST = 10_000
# Control characters (Cc), directions and other formats that a terminal obeys (Cf), and halves of surrogate pairs (Cs).
_ESCAPED = {"Cc", "Cf", "Cs"}
_SHOWN_AS_THEY_ARE = "\n\t"


def printable(text: str) -> str:
    r"""The text with control characters as Python writes them, such as ``\x1b``. New lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(sign) for sign in text)


def bounded(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning with a note of its whole length."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}... [cut: {len(text):,} characters]"


def bounded_json(value: Any) -> Any:
    """A JSON value in which every text is bounded."""
    if isinstance(value, str):
        return bounded(value)
    if isinstance(value, dict):
        return {key: bounded_json(part) for key, part in value.items()}
    return [bounded_json(part) for part in value] if isinstance(value, list | tuple) else value


def _escaped(sign: str) -> str:
    if sign in _SHOWN_AS_THEY_ARE or unicodedata.category(sign) not in _ESCAPED:
        return sign
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")
