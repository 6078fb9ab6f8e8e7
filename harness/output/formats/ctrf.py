"""CTRF, the common test report format (ctrf.io), version 0.0."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from harness.findings.finding import ERROR, FINDINGS, LATENT, OK, SKIPPED, WAIVED
from harness.output.formats.items import Item
from harness.runs.header import RunHeader

_VERSION = "0.0.0"
_STATUS = {OK: "passed", FINDINGS: "failed", ERROR: "failed", WAIVED: "other", LATENT: "other", SKIPPED: "skipped"}


def ctrf(items: Sequence[Item], header: RunHeader) -> str:
    """The text of the file: one test a result."""
    tests = [_test(one) for one in items]
    data = {
        "reportFormat": "CTRF",
        "specVersion": _VERSION,
        "reportId": header.run,
        "generatedBy": "moe-padding-harness",
        "timestamp": header.started,
        "results": {
            "tool": {"name": header.title},
            "summary": _summary(tests, header),
            "tests": tests,
            "environment": _environment(header),
        },
    }
    return json.dumps(data, indent=1) + "\n"


def _summary(tests: Sequence[dict[str, Any]], header: RunHeader) -> dict[str, int]:
    states = ("passed", "failed", "skipped", "pending", "other")
    counts = {state: sum(test["status"] == state for test in tests) for state in states}
    start = _milliseconds(header.started)
    stop = max([start, *(test.get("stop", 0) for test in tests)])
    return {"tests": len(tests), **counts, "start": start, "stop": stop}


def _test(one: Item) -> dict[str, Any]:
    duration = round(one.seconds * 1000)
    test: dict[str, Any] = {"name": one.name, "status": _STATUS[one.status], "duration": duration}
    test |= {"rawStatus": one.status, "suite": [one.group or "harness"], "type": "torch.compile"}
    if one.started:
        start = _milliseconds(one.started)
        test |= {"start": start, "stop": start + duration}
    if one.message:
        test["message"] = one.message
    if one.text:
        test["trace"] = one.text
    place = next((problem for problem in one.problems if problem.file), None)
    if place is not None:
        test["filePath"] = place.file
    if place is not None and place.line:
        test["line"] = place.line
    return test | {"extra": one.properties}


def _environment(header: RunHeader) -> dict[str, Any]:
    known = {"testEnvironment": header.runner, "commit": header.commit}
    extra = {name: value for name, value in header.environment.items() if value}
    return {name: value for name, value in known.items() if value} | {"extra": extra}


def _milliseconds(stamp: str) -> int:
    """Since 1970; 0 where the text is no time."""
    try:
        return round(datetime.fromisoformat(stamp).timestamp() * 1000)
    except ValueError:
        return 0
