"""Text of somebody else's code, made safe to show: what a terminal obeys is escaped, and the length has a limit."""

from typing import Any

# An exception of 100 MB would otherwise fill the terminal, the record and the memory of every reader.
LONGEST = 10_000
_SHOWN_AS_THEY_ARE = "\n\t"


def printable(text: str) -> str:
    r"""The text with every sign that cannot be printed as Python writes it, such as ``\x1b``. New lines and tabs stay."""
    return text if text.isprintable() else "".join(map(_escaped, text))


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
    if sign.isprintable() or sign in _SHOWN_AS_THEY_ARE:
        return sign
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")
