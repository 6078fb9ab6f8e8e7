"""The kinds of failure, read from package data, and how their patterns find themselves in a text."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

_SIZE = r"(?:\d+(?:\*[a-z]\w*)?|[a-z]+\d+(?:: ?hint ?= ?\d+)?(?:\*\d+)?)"
# No space but after a comma: one inside a number would be a line broken there, which is for the other form of a pattern.
_ITEMS = r"(?:[^\[\](), ]+(?:: ?hint ?= ?\d+)?(?:, ?|(?=[\])])))*"
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

    ``literal`` is a text that every match of ``spaced`` has, by which most patterns are passed over.
    """

    spaced: re.Pattern[str]
    compact: re.Pattern[str]
    literal: str

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """Compile a pattern of the data file. Raises re.error."""
        text = _PART.sub(lambda part: f"(?P<{part[1]}>{_PARTS[part[2] or 'size']})", text)
        text = re.sub(r"\(\?<(?=\w)", "(?P<", text)
        compact = _LOOK_BEHIND.sub("", text).replace(" ?", "").replace(" ", "")
        return cls(re.compile(text), re.compile(compact), literal(text))

    def finds(self, text: str, wrapped: bool) -> Iterator[re.Match[str]]:
        """Its matches in ``text``, which has no white space where it is ``wrapped``."""
        needed = self.literal.replace(" ", "") if wrapped else self.literal
        return (self.compact if wrapped else self.spaced).finditer(text) if needed in text else iter(())


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


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of failure. ``answer`` holds the entry's own words; ``rank`` is its place in the file, the first wins.

    ``findings`` are the kinds of finding that it may be, each with its conditions. ``classes`` are names of exceptions that are
    of this kind whatever their text is.
    """

    id: str
    rank: int
    title: str
    patterns: tuple[Pattern, ...]
    triggers: tuple[str, ...]
    reader: str = ""
    warns: bool = False
    answer: dict[str, Any] = field(default_factory=dict)
    when: tuple[dict[str, Any], ...] = ()
    findings: tuple[dict[str, Any], ...] = ()
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern of a kind was found: its groups, and its place in the text it was found in.

    ``order`` is the pattern's place among those of its kind, of which the first say the most.
    """

    kind: Kind
    order: int
    groups: dict[str, str]
    text: str
    place: int
    wrapped: bool


_ANSWER = ("verdict", "stage", "cause", "against", "look", "try", "tags")


def data(name: str) -> dict[str, Any]:
    """A data file of this room."""
    return tomllib.loads(files("harness.diagnosis").joinpath("data", name).read_text(encoding="utf-8"))


@cache
def kinds() -> tuple[Kind, ...]:
    """Every kind, the more specific first."""
    return tuple(_kind(rank, entry) for rank, entry in enumerate(data("failures.toml")["kind"]))


def _kind(rank: int, entry: dict[str, Any]) -> Kind:
    return Kind(
        id=entry["id"],
        rank=rank,
        title=entry["title"],
        patterns=tuple(Pattern.of(text) for text in entry["pattern"]),
        triggers=tuple(entry.get("triggers", ())),
        reader=entry.get("reader", ""),
        warns=entry.get("warns", False),
        answer={key: entry[key] for key in _ANSWER if key in entry},
        when=tuple(entry.get("when", ())),
        findings=tuple(entry.get("findings", ())),
        classes=frozenset(entry.get("classes", ())),
    )


@cache
def triggers() -> dict[str, tuple[Kind, ...]]:
    """Each trigger with the kinds that have it."""
    found: dict[str, list[Kind]] = {}
    for kind in kinds():
        for text in kind.triggers:
            found.setdefault(text, []).append(kind)
    return {text: tuple(of) for text, of in found.items()}


def first_match(text: str, among: Iterable[Kind], wrapped: bool = False) -> Match | None:
    """The match of the first kind that has one in ``text``, a line or several joined by single spaces.

    With ``wrapped`` the text is taken without any white space, as one that a terminal broke into lines anywhere.
    """
    if wrapped:
        text = "".join(text.split())
    for kind in among:
        for order, pattern in enumerate(kind.patterns):
            found = next(pattern.finds(text, wrapped), None)
            if found:
                return _match(kind, order, found, wrapped)
    return None


def every_match(text: str, kind: Kind, wrapped: bool) -> list[Match]:
    """Every match of the kind's patterns in ``text``, in the order of the patterns."""
    if wrapped:
        text = "".join(text.split())
    found = ((order, match) for order, pattern in enumerate(kind.patterns) for match in pattern.finds(text, wrapped))
    return [_match(kind, order, match, wrapped) for order, match in found]


def _match(kind: Kind, order: int, found: re.Match[str], wrapped: bool) -> Match:
    groups = {name: value for name, value in found.groupdict().items() if value is not None}
    return Match(kind, order, groups, found[0], found.start(), wrapped)
