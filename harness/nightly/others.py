"""What the history has beside the matrix: audits of ops, the corpus of faults, kernel times, refused releases."""

from collections.abc import Iterator
from datetime import date
from itertools import groupby
from typing import Any

from harness.nightly import record as kinds
from harness.nightly.history import MISSING, History, Other, Run

MOST_ROWS = 5_000
_AUDIT = ("what", "variant", "notes", "reproduce", "script")
_FAULT = ("kind", "mechanism", "trigger", "fix", "marks", "observers", "survived", "false_alarms", "tools")


def audits(history: History, runs: dict[int, Run]) -> list[dict[str, Any]]:
    """Each op and property on each runner, on its newest night, with the status of the night before."""
    rows = []
    for runner, now, was in _newest(history, runs, kinds.AUDIT):
        about = {key: now.about[key] for key in _AUDIT if now.about.get(key)}
        rows.append({"runner": runner, "op": now.name, "row": now.part, "status": now.status, "was": was} | about)
    return rows[:MOST_ROWS]


def selftests(history: History, runs: dict[int, Run]) -> list[dict[str, Any]]:
    """Each fault and correct variant of the corpus on each runner, on its newest night."""
    rows = []
    for runner, now, was in _newest(history, runs, kinds.SELFTEST):
        about = {key: now.about[key] for key in _FAULT if key in now.about}
        rows.append({"runner": runner, "id": now.name, "status": now.status, "was": was} | about)
    return rows[:MOST_ROWS]


def refused(history: History, runs: dict[int, Run]) -> list[dict[str, Any]]:
    """Each release of which nothing could be judged, on the newest night that says so."""
    rows = _newest(history, runs, kinds.REFUSED)
    return [{"runner": runner, "subject": now.name, "reason": now.about["reason"]} for runner, now, _ in rows]


def times(history: History, runs: dict[int, Run]) -> list[dict[str, Any]]:
    """Microseconds of each kernel at each shape and number of tokens, night by night; null where it has none."""
    nights = sorted({run.night for run in runs.values()})
    series: dict[tuple[str, str, str, str], dict[int, float]] = {}
    for row in history.others(kinds.BENCH):
        measured = row.about.get("times")
        if row.run in runs and isinstance(measured, dict):
            device = str(row.about.get("device") or runs[row.run].runner)
            for name, value in measured.items():
                if isinstance(value, int | float):
                    series.setdefault((row.name, row.part, device, str(name)), {})[runs[row.run].night] = value
    named = ("shape", "tokens", "device", "kernel")
    return [
        dict(zip(named, key, strict=True)) | {"values": [by_night.get(night) for night in nights]}
        for key, by_night in list(series.items())[:MOST_ROWS]
    ]


def _newest(history: History, runs: dict[int, Run], kind: str) -> Iterator[tuple[str, Other, str]]:
    """``(runner, newest row, status of the night before)``. A planned row without a result stands for itself."""
    shown = (row for row in history.others(kind) if row.run in runs)
    for _, rows in groupby(shown, key=lambda row: (row.name, row.part)):
        by_runner: dict[str, dict[int, Other]] = {}
        for row in rows:
            by_night = by_runner.setdefault(runs[row.run].runner, {})
            night = runs[row.run].night
            if night not in by_night or by_night[night].status == MISSING:
                by_night[night] = row
        for runner, by_night in by_runner.items():
            first, *rest = sorted(by_night, reverse=True)
            now = by_night[first]
            now.about["night"] = date.fromordinal(first).isoformat()
            yield runner, now, by_night[rest[0]].status if rest else ""
