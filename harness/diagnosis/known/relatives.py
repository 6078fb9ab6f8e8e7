"""Public bugs, read from package data: which of them a failure looks like, and whether a release has them."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.diagnosis.known.kinds import data
from harness.diagnosis.known.versions import is_release, within


@dataclass(frozen=True, slots=True)
class Symptom:
    """How a text of a bug looks: the kinds of failure, the tags that its reader gives, and words in it."""

    kinds: tuple[str, ...]
    tags: frozenset[str]
    text: re.Pattern[str] | None

    def fits(self, kind: str, tags: Collection[str], text: str) -> int:
        """How many of its conditions a failure meets; 0 where it does not meet all of them."""
        if kind not in self.kinds or not self.tags <= set(tags) or (self.text and not self.text.search(text)):
            return 0
        return 1 + len(self.tags) + 2 * (self.text is not None)


@dataclass(frozen=True, slots=True)
class Bug:
    """A public bug. ``finding`` names the predicate by which the harness knows it in a finding, where it does."""

    id: str
    package: str
    mechanism: str
    fixed_by: str
    fixed_in: str
    affected: tuple[str, ...]
    clean: tuple[str, ...]
    between: str
    symptoms: tuple[Symptom, ...]
    finding: str

    def __str__(self) -> str:
        return f"{self.id} (fixed by {self.fixed_by})" if self.fixed_by else self.id

    def releases(self) -> str:
        """Which releases have it, in words; empty where that is not known."""
        have = f"in {' and '.join(self.affected).replace('==', '')}" if self.affected else self.between
        return have + (f", fixed in {self.fixed_in}" if self.fixed_in else "")

    def status(self, version: str) -> str:
        """Whether a version has it, in one clause."""
        name = f"{self.package} {version}"
        if any(within(version, spec) for spec in self.affected):
            return f"{name} has it"
        if not is_release(version):
            return f"{name} is a development build: whether it has this is not known"
        if version in self.clean or (self.fixed_in and within(version, f">={self.fixed_in}")):
            return f"{name} does not have it: then this is another bug like it, or a changed build"
        if self.affected:
            return f"{name} is not among the releases known to have it"
        return f"whether {name} has it is not known"


@cache
def bugs() -> tuple[Bug, ...]:
    """Every public bug of the data file."""
    read = data("bugs.toml")
    return tuple(_bug(entry, read["releases"]) for entry in read["bug"])


def _bug(entry: Mapping[str, Any], releases: Mapping[str, list[str]]) -> Bug:
    clean = entry.get("clean", [])
    return Bug(
        id=entry["id"],
        package=entry["package"],
        mechanism=entry["mechanism"],
        fixed_by=entry.get("fixed_by", ""),
        fixed_in=entry.get("fixed_in", ""),
        affected=tuple(entry.get("affected", ())),
        clean=tuple(releases[clean] if isinstance(clean, str) else clean),
        between=entry.get("between", ""),
        symptoms=tuple(_symptom(symptom) for symptom in entry.get("symptom", ())),
        finding=entry.get("finding", ""),
    )


def _symptom(entry: Mapping[str, Any]) -> Symptom:
    text = entry.get("text")
    return Symptom(tuple(entry["kind"]), frozenset(entry.get("tags", ())), re.compile(text) if text else None)


def relatives(kind: str, tags: Collection[str], text: str) -> tuple[Bug, ...]:
    """The bugs that a failure looks like, the closest first."""
    ranked = [(max((s.fits(kind, tags, text) for s in bug.symptoms), default=0), bug) for bug in bugs()]
    return tuple(bug for fit, bug in sorted(ranked, key=lambda pair: -pair[0]) if fit)
