"""The kinds of failure, read from package data, and which of them has a match in a text."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from harness.diagnosis.known.patterns import Pattern


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of failure. ``answer`` holds the entry's own words; ``rank`` is its place in the file, the first wins.

    ``findings`` are the kinds of finding that it may be, each with its conditions. ``classes`` are names of exceptions that are
    of this kind whatever their text is. ``layers`` says that one of a layer with experts may be of this family.
    """

    id: str
    rank: int
    title: str
    patterns: tuple[Pattern, ...]
    triggers: tuple[str, ...]
    reader: str = ""
    warns: bool = False
    layers: bool = False
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
        layers=entry.get("layers", False),
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
            if found := pattern.first(text, wrapped):
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
