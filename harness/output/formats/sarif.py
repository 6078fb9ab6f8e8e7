"""SARIF 2.1.0, the format of code scanning. It holds what is wrong; what is ok has no place in it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from harness.findings.kinds import KINDS
from harness.output.formats.items import Item, Problem
from harness.runs.header import RunHeader

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# GitHub shows no more of one file.
_MOST = 1000


def sarif(items: Sequence[Item], header: RunHeader) -> str:
    """The text of the file: one result a problem, at most a thousand; a notification says how many were left out."""
    every = [(one, problem) for one in items for problem in one.problems]
    shown = every[:_MOST]
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "moe-padding-harness", "rules": _rules(problem for _, problem in shown)}},
        "results": [_result(one, problem) for one, problem in shown],
        "automationDetails": {"id": quote(f"{header.title}/{header.runner}/", safe="/ ")},
        "columnKind": "unicodeCodePoints",
    }
    if len(every) > _MOST:
        text = f"{len(every) - _MOST} more results are left out; the records have all of them"
        note = {"level": "warning", "message": {"text": text}}
        run["invocations"] = [{"executionSuccessful": True, "toolExecutionNotifications": [note]}]
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rules(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    rules = {}
    for problem in problems:
        about = KINDS.get(problem.kind, problem.kind)
        rules[problem.kind] = {"id": problem.kind, "shortDescription": {"text": about}}
    return list(rules.values())


def _result(one: Item, problem: Problem) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": problem.kind,
        "level": "note" if problem.waived or not one.failing else "error",
        "message": {"text": f"{problem.title}\n{problem.message}\nreproduce: {one.reproduce}"},
        "partialFingerprints": {"task/v1": one.task.fingerprint, "finding/v1": problem.fingerprint},
        "locations": [_location(problem)],
        "properties": dict(one.properties),
    }
    if problem.waived:
        result["suppressions"] = [{"kind": "external", "justification": one.reason}]
    return result


def _location(problem: Problem) -> dict[str, Any]:
    if not problem.file:
        return {"logicalLocations": [{"name": problem.title}]}
    path = PurePath(problem.file)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if problem.line:
        physical["region"] = {"startLine": problem.line}
    return {"physicalLocation": physical}
