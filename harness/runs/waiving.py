"""Drafts of waivers from the findings of a run. The issue is left empty, so a draft excuses nothing until it is named."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from glob import escape
from typing import Any

from harness.base.printable import printable
from harness.findings.finding import FINDINGS
from harness.runs.results import Result

# These say that a waiver is wrong. Another waiver is no answer.
_OF_WAIVERS = ("waived-but-passes", "waived-but-not-seen")
_LONGEST_REASON = 200


@dataclass(slots=True)
class _Group:
    """The findings of one kind on one subject: which cases in which modes, and the first one in full."""

    modes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    first: dict[str, Any] = field(default_factory=dict)
    reproduce: str = ""


def drafts(results: Iterable[Result]) -> Iterator[str]:
    """The entries of a waivers file. Each matches exactly the cases and modes that have its kind of finding."""
    groups: dict[tuple[str, str], _Group] = defaultdict(_Group)
    for result in results:
        for finding in _findings(result):
            group = groups[result.task.subject, str(finding.get("kind", ""))]
            group.first = group.first or finding
            group.reproduce = group.reproduce or str(result.record.get("reproduce", ""))
            group.modes[result.task.mode].add(result.task.case)
    for (subject, kind), group in groups.items():
        for cases, modes in _products(group.modes):
            yield _entry(subject, kind, group, cases, modes)


def _findings(result: Result) -> list[dict[str, Any]]:
    found = result.record.get("findings") if result.status == FINDINGS else None
    own = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [one for one in own if not one.get("waiver") and one.get("kind") not in _OF_WAIVERS]


def _products(modes: dict[str, set[str]]) -> Iterator[tuple[list[str], list[str]]]:
    """(cases, modes) such that each case has the finding in each mode: a waiver that matches more fails the run."""
    by_cases: dict[frozenset[str], list[str]] = defaultdict(list)
    for mode, cases in modes.items():
        by_cases[frozenset(cases)].append(mode)
    for same, named in by_cases.items():
        yield sorted(same), sorted(named)


def _entry(subject: str, kind: str, group: _Group, cases: list[str], modes: list[str]) -> str:
    first = group.first
    similar = first.get("similar_to")
    comments = [f"similar to {bug}" for bug in similar] if isinstance(similar, list) else []
    comments += [f"reproduce: {group.reproduce}"]
    return "\n".join(
        [
            *(f"# {_one_line(comment)}" for comment in comments),
            "[[waiver]]",
            'issue = ""  # the public issue: owner/repo#123 or its https address; the file is refused until it is here',
            f"reason = {_text(_one_line(str(first.get('what', '')))[:_LONGEST_REASON] or kind)}",
            f"subjects = {_text(escape(subject))}",
            f"cases = {_list([escape(case) for case in cases])}",
            f"modes = {_list(modes)}",
            f"kinds = {_list([escape(kind)])}",
        ]
    )


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _list(values: list[str]) -> str:
    if len(values) == 1:
        return f"[{_text(values[0])}]"
    return "[\n" + "".join(f"  {_text(value)},\n" for value in values) + "]"


def _text(value: str) -> str:
    """A text of TOML. JSON's form is nearly the same; TOML wants DEL and lone surrogates otherwise."""
    quoted = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\ud800-\udfff]", lambda sign: f"\\u{min(ord(sign[0]), 0xD7FF):04x}", quoted)
