"""Waivers: known findings with a public issue. A waived finding stays in the records and does not fail the run.

A waiver must stay true. If its case passes, the run fails. If it matches no case, the run names it.
"""

import re
import shlex
import tomllib
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, Self

from harness.base.errors import BadInput, nearest
from harness.base.text_file import read_regular
from harness.findings.finding import FINDINGS, OK, WAIVED, Finding, Verdict
from harness.findings.kinds import KINDS
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE

# The keys of a waiver that choose verdicts, and those that choose findings: key -> field.
_OF_VERDICT = {"cases": "case", "models": "model", "modes": "mode", "subjects": "subject"}
_OF_FINDING = {"observers": "observer", "kinds": "kind"}
_KEYS = ("issue", "reason", *_OF_VERDICT, *_OF_FINDING)
_ISSUE = re.compile(
    r"[\w.-]+(/[\w.-]+)?#[1-9][0-9]*|https://[\w.-]+/\S+/(issues|pulls?|merge_requests)/[1-9][0-9]*/?(#\S*)?", re.ASCII
)
_ISSUE_FORMS = "owner/repo#123, project#123 or the https address of an issue or pull request"


@dataclass(frozen=True, slots=True)
class Waiver:
    """One entry. ``number`` is its place in the file, from 1. ``patterns`` are its globs by key."""

    number: int
    issue: str
    reason: str
    patterns: dict[str, tuple[str, ...]]

    def matches(self, verdict: "Verdict | _Named") -> bool:
        """Whether its patterns match this case in this mode. Without patterns for verdicts it matches all of them."""
        return self._matches(verdict, _OF_VERDICT)

    def covers(self, finding: Finding) -> bool:
        """Whether it waives this finding of a verdict that it matches."""
        return self._matches(finding, _OF_FINDING)

    def _matches(self, thing: object, names: dict[str, str]) -> bool:
        return all(
            any(fnmatchcase(getattr(thing, names[key]), pattern) for pattern in patterns)
            for key, patterns in self.patterns.items()
            if key in names
        )


class _Named(NamedTuple):
    """What of a verdict is known before the case is judged."""

    case: str
    model: str
    mode: str
    subject: str


@dataclass(slots=True)
class Waivers:
    """The waivers of a run. ``matched`` has the numbers of the waivers that matched a judged verdict."""

    waivers: tuple[Waiver, ...] = ()
    file: str = ""
    judged: int = 0
    matched: set[int] = field(default_factory=set)

    @classmethod
    def read(cls, file: str | Path | None) -> Self:
        """Read a TOML file; no file means no waivers. Raises BadInput with the entry's number."""
        return cls() if file is None else cls(_read(file), str(file))

    def apply(self, verdict: Verdict) -> Verdict:
        """Mark the waived findings of a verdict. A waiver that matches the verdict and covers no finding becomes a finding."""
        if verdict.status not in (OK, FINDINGS):
            return verdict  # skipped, or the harness failed: nothing was judged
        self.judged += 1
        matching = [waiver for waiver in self.waivers if waiver.matches(verdict)]
        self.matched |= {waiver.number for waiver in matching}
        stale = [waiver for waiver in matching if not any(map(waiver.covers, verdict.findings))]
        findings = tuple(_waived(finding, matching) for finding in verdict.findings)
        # One finding without a waiver fails the verdict, and so does a stale waiver.
        if findings and not stale and all(finding.waiver for finding in findings):
            reasons = {waiver.issue: waiver.reason for waiver in reversed(matching)}
            used = dict.fromkeys(finding.waiver for finding in findings)
            reason = "; ".join(f"{issue}: {reasons[issue]}" for issue in used)
            return replace(verdict, status=WAIVED, reason=reason, findings=findings)
        if not stale:
            return replace(verdict, findings=findings)
        findings += tuple(_stale(verdict, waiver) for waiver in stale)
        command = f"{verdict.reproduce} --waivers {shlex.quote(self.file)}"
        return replace(verdict, status=FINDINGS, findings=findings, reproduce=command)

    def note(self, verdict: Verdict) -> None:
        """Count a verdict of a resumed run, whose findings were marked before, as judged in this run."""
        self.judged += verdict.status in (OK, FINDINGS, WAIVED)
        self.matched |= {waiver.number for waiver in self.waivers if waiver.matches(verdict)}

    def expect(self, case: Case, mode: str, subject: str) -> None:
        """A case that another shard of this run judges: a waiver that matches it is not needless because of this shard."""
        verdict = _Named(case.id, case.model, mode, subject)
        self.matched |= {waiver.number for waiver in self.waivers if waiver.matches(verdict)}

    def unmatched(self) -> list[str]:
        """A line for each waiver that matched nothing. Empty if no case was judged."""
        return [
            f"{self.file}: waiver {waiver.number} ({waiver.issue}) matches nothing that was judged in this run"
            for waiver in self.waivers
            if waiver.number not in self.matched and self.judged
        ]

    def tally(self) -> list[int]:
        """The counts for another process: how many verdicts were judged, then the numbers of the waivers that matched."""
        return [self.judged, *self.matched]

    def add(self, tally: list[int]) -> None:
        """Add the tally of another process."""
        self.judged += tally[0]
        self.matched.update(tally[1:])


def _waived(finding: Finding, waivers: list[Waiver]) -> Finding:
    return replace(finding, waiver=next((waiver.issue for waiver in waivers if waiver.covers(finding)), ""))


def _stale(verdict: Verdict, waiver: Waiver) -> Finding:
    passes = verdict.status == OK
    shown = "passes" if passes else "not seen"
    return Finding(
        observer="waivers",
        kind="waived-but-passes" if passes else "waived-but-not-seen",
        stage=f"waiver {waiver.number}",
        what=f"waived but {shown}: {waiver.issue}, {verdict.case}, {verdict.mode}: remove or narrow the waiver",
        cause=f"Either {waiver.issue} is fixed here, or the waiver's patterns match too many cases. Its reason: {waiver.reason}.",
    )


def _read(file: str | Path) -> tuple[Waiver, ...]:
    try:
        data = tomllib.loads(read_regular(Path(file)))
    except OSError as error:
        raise BadInput(
            f"cannot read waivers {file}: {error.strerror}; give a TOML file of [[waiver]] entries"
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"cannot read waivers {file}: {error}; expected TOML with [[waiver]] entries") from None
    _check_keys(data, ("waiver",), str(file))
    entries = data.get("waiver", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadInput(f"{file}: waiver is not a list of tables; expected entries that begin with [[waiver]]")
    return tuple(_waiver(number, entry, f"{file}: waiver {number}") for number, entry in enumerate(entries, 1))


def _waiver(number: int, entry: dict[str, Any], where: str) -> Waiver:
    _check_keys(entry, _KEYS, where)
    issue, reason = (
        _text(entry, "issue", where, _ISSUE_FORMS),
        _text(entry, "reason", where, "a short text that says why"),
    )
    if not _ISSUE.fullmatch(issue):
        raise BadInput(f"{where}: issue is {issue!r}; expected {_ISSUE_FORMS}")
    patterns = {key: _globs(entry[key], f"{where}: {key}") for key in entry if key not in ("issue", "reason")}
    if not patterns:
        raise BadInput(f"{where}: has no pattern; expected at least one of {', '.join(_KEYS[2:])}")
    for key, what, known in (("modes", "mode", tuple(EVERY_MODE)), ("kinds", "kind of finding", tuple(KINDS))):
        for pattern in patterns.get(key, ()):
            _require_match(pattern, what, known, where)
    return Waiver(number, issue, reason, patterns)


def _require_match(pattern: str, what: str, known: tuple[str, ...], where: str) -> None:
    if not any(fnmatchcase(name, pattern) for name in known):
        near = nearest(pattern, known) or known[:8]
        raise BadInput(f"{where}: no {what} matches {pattern!r}; did you mean {' or '.join(near)}?")


def _check_keys(entry: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in entry:
        if key not in keys:
            near = nearest(key, keys)
            hint = f"did you mean {' or '.join(near)}?" if near else f"expected {', '.join(keys)}"
            raise BadInput(f"{where}: unknown key {key!r}; {hint}")


def _text(entry: dict[str, Any], key: str, where: str, expected: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        problem = f"{key} is {value!r}" if key in entry else f"{key} is missing"
        raise BadInput(f"{where}: {problem}; expected {expected}")
    return " ".join(value.split())


def _globs(value: Any, where: str) -> tuple[str, ...]:
    globs = [value] if isinstance(value, str) else value
    if not isinstance(globs, list) or not globs or not all(isinstance(glob, str) and glob for glob in globs):
        raise BadInput(f"{where} is {value!r}; expected a glob or a list of globs, such as '*-tp2-*'")
    return tuple(globs)
