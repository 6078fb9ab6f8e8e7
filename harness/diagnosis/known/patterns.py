"""A pattern of a failure's text: a regular expression with names for sizes, shapes and ops, in a form for wrapped text too."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

_SIZE = r"(?:\d+(?:\*[a-z]\w*)?|[a-z]+\d+(?:: ?hint ?= ?\d+)?(?:\*\d+)?(?: ?\+ ?\d+)?)"
# No space but after a comma: one inside a number would be a line broken there, which is for the other form of a pattern.
# Parentheses in an item are a symbol's: s21*((s88//s21)).
_ITEM = r"(?:[^\[\](), ]|\((?:[^\[\]()]|\([^\[\]()]*\))*\))+"
_ITEMS = rf"(?:{_ITEM}(?:: ?hint ?= ?\d+)?(?:, ?|(?=[\])])))*"
_SHAPE = rf"(?:torch\.Size\()?(?:\[\*?{_ITEMS}\]|\({_ITEMS}\))\)?"
# What stands between < and > in a pattern: <a> is a size, <a:shape> a list of them, and so on.
_PARTS = {
    "size": _SIZE,
    "shape": _SHAPE,
    "op": r"(?:<?CustomOpDef\()?[A-Za-z_]\w*(?:(?:::|\.)\w+)*",
    "function": r"[\w.<>]+",
    "name": r"\w+",
    "text": r".{1,120}?",
    "rest": r"[^.;\n]{1,120}",
    "quoted": r".{1,80}?",
}
_PART = re.compile(r"(?<!(?<!\\)\(\?)(?<!\(\?P)<(\w+)(?::(\w+))?>")
# A piece of a regular expression: an escape, a set of characters, a count, any other character.
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]])*\]|\{\d*,?\d*\}|.", re.DOTALL)
_SPECIAL = frozenset("()|?*+.^$")
_LOOK_BEHIND = re.compile(r"\(\?<!\[[^\]]*\]\)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern in two forms: for text with one space between words, and for text without any, wrapped anywhere.

    ``literal`` is a text that every match of ``spaced`` has, by which most patterns are passed over; ``tight`` is that of
    ``compact``. Each is compiled when it is first looked for: a log meets few of the hundreds, and all take a quarter of a second.
    """

    spaced: str
    compact: str
    literal: str
    tight: str

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """A pattern of the data file."""
        text = _PART.sub(lambda part: f"(?P<{part[1]}>{_PARTS[part[2] or 'size']})", text)
        text = re.sub(r"\(\?<(?=\w)", "(?P<", text)
        compact = _LOOK_BEHIND.sub("", text).replace(" ?", "").replace(" ", "")
        every = literal(text)
        return cls(text, compact, every, every.replace(" ", ""))

    def finds(self, text: str, wrapped: bool) -> Iterator[re.Match[str]]:
        """Its matches in ``text``, which has no white space where it is ``wrapped``."""
        if (self.tight if wrapped else self.literal) not in text:
            return iter(())
        return _compiled(self.compact if wrapped else self.spaced).finditer(text)

    def first(self, text: str, wrapped: bool) -> re.Match[str] | None:
        """Its first match."""
        if (self.tight if wrapped else self.literal) not in text:
            return None
        return _compiled(self.compact if wrapped else self.spaced).search(text)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def literal(pattern: str) -> str:
    """The longest text that every match of a pattern has; empty where there is none, as with a choice at the top."""
    depth, run, found, place = 0, "", [""], 0
    while place < len(pattern):
        token = _TOKEN.match(pattern, place)
        assert token is not None
        text, place = token[0], token.end()
        depth += (text == "(") - (text == ")")
        if text == "|" and not depth:
            return ""
        if not depth and (text[0] != "\\" or not text[1].isalnum()) and len(text) <= 2 and text not in _SPECIAL:
            run += text[-1]
            continue
        if text[0] in "?*{":  # the character before it may be left out
            run = run[:-1]
        found, run = [*found, run], ""
    return max(*found, run, key=len)
