"""From lines of records to the history. Memory does not grow with the number of results of a file."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from harness.base.printable import bounded, bounded_json, printable
from harness.nightly import record as kinds
from harness.nightly.files import RecordsFile
from harness.nightly.history import MISSING, RANKS, History, Other, Result, Run, number, packed
from harness.nightly.record import findings, place, renamed

_BATCH = 5_000
_LONGEST_NAME = 400
_OF_THE_MATRIX = ("check", "prove", "vllm", "")
# What a detail holds of a verdict's record, beside its findings.
_DETAIL = ("reason", "changes", "reproduce", "script", "traceback", "proof")
_HEAD = 1 << 16


def night_of(moment: datetime) -> int:
    """The night of a moment, from noon to noon UTC, as the ordinal of the day on which it ends."""
    return (moment.astimezone(UTC) + timedelta(hours=12)).date().toordinal()


@dataclass
class Ingest:
    """Adds records to a history. ``night`` is the ordinal of the night of every run without a start, if it is known."""

    history: History
    night: int | None = None
    _waiting: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    _known: dict[str, set[int]] = field(default_factory=dict)
    _environments: dict[tuple[Any, ...], int] = field(default_factory=dict)
    _runs: dict[str, Run] = field(default_factory=dict)

    def add(self, file: RecordsFile) -> None:
        """Add every record of a file."""
        nameless = _Nameless(file.path, self.night)
        for kind, record in file:
            run = self._run_of(kind, record, nameless)
            if kind == kinds.VERDICT:
                self._verdict(run, record)
            elif kind == kinds.END:
                self._update(run, record, ("finished", "seconds", "interrupted"))
            elif kind not in (kinds.RUN, kinds.RESUME):
                self._other(kind, run, record)
        self._write()

    def _run_of(self, kind: str, record: dict[str, Any], nameless: "_Nameless") -> Run:
        name = record.get("run")
        if kind == kinds.RUN:
            return self._started(record)
        if not isinstance(name, str):
            name = nameless.name
        if name not in self._runs:
            known = self.history.run(printable(name))
            self._runs[name] = known or self.history.set_run(printable(name), nameless.night, "unknown", {})
        return self._runs[name]

    def _started(self, record: dict[str, Any]) -> Run:
        """Set what a run says of itself, and the tasks that it planned."""
        name, runner = printable(record["run"]), _name(record.get("runner")) or "unknown"
        known = self.history.run(name)
        about = {key: value for key, value in record.items() if key != "planned"}
        about = bounded_json((known.about if known else {}) | about)
        night = _moment_night(record.get("started")) or (known.night if known else self.night)
        run = self.history.set_run(name, night or night_of(datetime.now(UTC)), runner, about)
        self._runs[record["run"]] = run
        self._environments.clear()
        self._plan(run, record)
        return run

    def _update(self, run: Run, record: dict[str, Any], keys: Iterable[str]) -> None:
        about = run.about | {key: record[key] for key in keys if key in record}
        self._runs[record["run"]] = self.history.set_run(run.name, run.night, run.runner, bounded_json(about))

    def _plan(self, run: Run, record: dict[str, Any]) -> None:
        """Every task of the matrix is missing until it has a result: the tasks of a shard that never began are too."""
        tool, planned = str(record.get("tool", "")), record.get("planned")
        if not isinstance(planned, dict) or not isinstance(planned.get("cases"), list):
            return
        name = f"plan {run.night} {run.runner} {tool} {_name(record.get('batch'))} {_name(planned.get('hash')) or run.name}"
        if self.history.run(name):
            return
        plan = self.history.set_run(name, run.night, run.runner, {"plan": True, "tool": tool})
        for subject, case, mode in _tasks(planned["cases"]):
            if tool in _OF_THE_MATRIX:
                self._result(plan, (subject, case, mode, ""), MISSING, 0, 0, 0, 0.0)
            elif tool.startswith("audit"):
                self._put("others", Other(kinds.AUDIT, _op(case, subject), mode, plan.id, MISSING, {}))
            else:
                self._put("others", Other(kinds.SELFTEST, case, "", plan.id, MISSING, {}))

    def _verdict(self, run: Run, record: dict[str, Any]) -> None:
        key = (_name(record["subject"]), _name(record["case"]), _name(record["mode"]), _name(record.get("model")))
        record = renamed(record)
        found = findings(record) if record["status"] != "ok" else []
        environment = self._environment(run, record.get("environment"))
        signature = number(*sorted(f"{one.get('kind')} {one.get('stage')}" for one in found)) if found else 0
        detail = self._detail(record, found) if record["status"] != "ok" else 0
        seconds = float(record.get("seconds", 0.0))
        seconds = seconds if math.isfinite(seconds) else 0.0
        self._result(run, key, record["status"], environment, signature, detail, seconds)

    def _result(
        self,
        run: Run,
        key: tuple[str, str, str, str],
        status: str,
        environment: int,
        signature: int,
        detail: int,
        seconds: float,
    ) -> None:
        subject, case, mode, model = key
        case_id = number(subject, case, mode)
        where = place(subject, case, mode, model)
        cell = number(subject, where.model, mode, where.backend)
        if self._is_new("cells", cell):
            self._put("cells", (cell, subject, where.model, mode, where.backend))
        if self._is_new("cases", case_id):
            self._put("cases", (case_id, case))
        rank = RANKS.index(status)
        self._put("results", Result(case_id, run.id, cell, rank, environment, signature, detail, seconds))

    def _detail(self, record: dict[str, Any], found: list[dict[str, Any]]) -> int:
        about = {key: record[key] for key in _DETAIL if record.get(key)} | {"findings": found}
        text = json.dumps(bounded_json(about))
        detail = number(text)
        if self._is_new("details", detail):
            self._put("details", (detail, packed(json.loads(text))))
        return detail

    def _environment(self, run: Run, given: Any) -> int:
        """The number of an environment: the run's, its commit and seed, and what this mode set."""
        own = given if isinstance(given, dict) else {}
        key = (run.id, *own.items()) if all(isinstance(value, str) for value in own.values()) else (run.id, str(own))
        if key not in self._environments:
            shared = run.about.get("environment")
            about = {"commit": run.about.get("commit", ""), "seed": run.about.get("seed", "")}
            about |= (shared if isinstance(shared, dict) else {}) | own
            shown = {_name(name): _name(value) for name, value in sorted(about.items()) if value != ""}
            text = json.dumps(shown)
            self._environments[key] = number(text)
            if self._is_new("environments", number(text)):
                self._put("environments", (number(text), text))
        return self._environments[key]

    def _other(self, kind: str, run: Run, record: dict[str, Any]) -> None:
        name, part, status = _OTHERS[kind](record)
        if kind == kinds.SELFTEST:
            record = record | {"trials": []}  # the page shows the marks; the trials are a megabyte
        about = bounded_json(record | {"environment": run.about.get("environment") or {}})
        self._put("others", Other(kind, _name(name), _name(part), run.id, status, about))

    def _is_new(self, table: str, number: int) -> bool:
        known = self._known.setdefault(table, set())
        return number not in known and not known.add(number)  # type: ignore[func-returns-value]

    def _put(self, table: str, row: tuple[Any, ...]) -> None:
        rows = self._waiting.setdefault(table, [])
        rows.append(row)
        if len(rows) >= _BATCH:
            self._write_table(table)

    def _write(self) -> None:
        for table in list(self._waiting):
            self._write_table(table)

    def _write_table(self, table: str) -> None:
        rows = self._waiting.pop(table, [])
        if table == "others":
            rows = [(*row[:5], packed(row[5])) for row in rows]
        # A result in the file is later than one that the history has of the same run: it was resumed.
        self.history.insert(table, rows, replace=table in ("results", "others"))


class _Nameless:
    """The run of records that name none: of one file, known by how the file begins, of the night when it was written."""

    def __init__(self, path: Path, night: int | None) -> None:
        with path.open("rb") as file:
            self.name = f"file {number(file.read(_HEAD).hex()):x}"
        self.night = night or night_of(datetime.fromtimestamp(path.stat().st_mtime, UTC))


def _tasks(cases: list[Any]) -> Iterator[tuple[str, str, str]]:
    for entry in cases:
        with suppress(TypeError, KeyError, AttributeError):  # an entry of another form says nothing
            for mode in entry["modes"]:
                yield _name(entry["subject"]), _name(entry["case"]), _name(mode)


def _moment_night(text: Any) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        return night_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (TypeError, ValueError, OverflowError):
        return None


def night_named(text: str) -> int:
    """The ordinal of a night of the form 2026-11-27. Raises ValueError."""
    return date.fromisoformat(text).toordinal()


def _op(op: str, version: str) -> str:
    return f"{op} ({version})" if version else op


def _name(value: Any) -> str:
    return "" if value is None else bounded(printable(str(value)).replace("\n", " "), _LONGEST_NAME)


def _killed(record: dict[str, Any]) -> str:
    return (
        "ok" if record.get("killed") or (record["kind"] == "correct" and not record.get("false_alarms")) else "findings"
    )


# By kind: the name, the part of it, and the status.
_OTHERS: dict[str, Callable[[dict[str, Any]], tuple[str, Any, str]]] = {
    kinds.AUDIT: lambda r: (_op(r["op"], str(r.get("version") or "")), r["row"], r["status"]),
    kinds.SELFTEST: lambda r: (r["id"], "", _killed(r)),
    kinds.BENCH: lambda r: (r["shape"], r.get("tokens", ""), str(r.get("status", ""))),
    kinds.REFUSED: lambda r: (r["subject"], "", "error"),
}
