"""A result of any command in one form: which task, which status, what was found. Made from a line of a records file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.base.errors import BadInput
from harness.findings.finding import ERROR, FINDINGS, LATENT, OK, SKIPPED, WAIVED
from harness.runs.planned import Task

VERDICT, AUDIT, SELFTEST, REFUSED = "verdict", "audit", "selftest", "refused"
KINDS = (VERDICT, AUDIT, SELFTEST)
STATUSES = (OK, FINDINGS, WAIVED, LATENT, SKIPPED, ERROR)
# The statuses that make a run red.
FAILING = (FINDINGS, ERROR)
_OF_A_ROW = {"holds": OK, "breaks": FINDINGS, "not applicable": SKIPPED, "not run": SKIPPED}


@dataclass(frozen=True, slots=True)
class Result:
    """One task's result. ``record`` is the whole line, as it was read."""

    task: Task
    status: str
    seconds: float
    run: str
    record: dict[str, Any]

    @property
    def failing(self) -> bool:
        """Whether it makes a run red."""
        return self.status in FAILING

    @property
    def signature(self) -> frozenset[tuple[str, ...]]:
        """What was found, by kind and stage: two runs with equal ones found the same."""
        return frozenset(_signature(self.record)) if self.failing else frozenset()

    @property
    def script(self) -> str:
        """A script that shows it without the harness; empty where there is none."""
        return str(self.record.get("script", ""))

    @property
    def kinds(self) -> str:
        """What was found in a few words: the kinds of its findings, each with its stage, or the reason."""
        named = dict.fromkeys(" at ".join(filter(None, words)) for words in sorted(self.signature))
        return ", ".join(named) or str(self.record.get("reason") or self.record.get("what") or "")


def result(data: dict[str, Any]) -> Result:
    """The result in a line of a records file, of any format. Raises BadInput where it is none."""
    kind = data.get("record") or _kind(data)
    try:
        task, status = _FORMS[kind](data)
    except (KeyError, TypeError, AttributeError):
        raise BadInput("it is no result (docs/reference/records.md)") from None
    seconds, run = data.get("seconds"), data.get("run")
    own = float(seconds) if isinstance(seconds, int | float) else 0.0
    return Result(task, status, own, run if isinstance(run, str) else "", data)


def _kind(data: dict[str, Any]) -> str:
    """Of a line of an older format, which does not say it."""
    if "case" in data and "mode" in data:
        return VERDICT
    return AUDIT if "op" in data and "row" in data else SELFTEST if "trials" in data else ""


def _verdict(data: dict[str, Any]) -> tuple[Task, str]:
    return _task(data["subject"], data["case"], data["mode"]), _status(data["status"])


def _audit(data: dict[str, Any]) -> tuple[Task, str]:
    status = ERROR if data.get("unusable") else _OF_A_ROW[data["status"]]
    return _task(data.get("version", ""), data["op"], data["row"]), status


def _selftest(data: dict[str, Any]) -> tuple[Task, str]:
    bad = bool(data.get("survived") or data.get("false_alarms"))
    return _task(data.get("corpus", ""), data["id"], SELFTEST), FINDINGS if bad else OK


_FORMS = {VERDICT: _verdict, AUDIT: _audit, SELFTEST: _selftest}


def _task(*parts: Any) -> Task:
    if not all(isinstance(part, str) for part in parts):
        raise TypeError
    return Task(*parts)


def _status(value: Any) -> str:
    if value not in STATUSES:
        raise KeyError(value)
    return str(value)


def _signature(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    findings = record.get("findings")
    for finding in findings if isinstance(findings, list) else ():
        if isinstance(finding, dict) and not finding.get("waiver"):
            yield str(finding.get("kind", "")), str(finding.get("stage", ""))
    if "row" in record:
        yield "breaks" if record["status"] == "breaks" else str(record["status"]), str(record.get("variant", ""))
    for key in ("survived", "false_alarms"):
        if record.get(key):
            yield (key.replace("_", " "),)
