"""A result as every format shows it: a name, a status, its problems with their place, and the whole text."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.base.printable import bounded, printable
from harness.findings.finding import ERROR, FINDINGS, Verdict
from harness.findings.fingerprint import fingerprint
from harness.output.report import verdict_text
from harness.runs.planned import Task
from harness.runs.results import VERDICT, Result


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. ``file`` and ``line`` are the user's; ``file`` is empty where none is known."""

    kind: str
    title: str
    message: str
    file: str = ""
    line: int = 0
    page: str = ""
    fingerprint: str = ""
    waived: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One result. ``text`` is what the terminal shows of it, and has no sign that a terminal obeys."""

    task: Task
    status: str
    seconds: float
    group: str
    reason: str
    text: str
    reproduce: str
    started: str
    properties: dict[str, str]
    problems: tuple[Problem, ...] = ()

    @property
    def name(self) -> str:
        """A name that is unique in a run of one subject: ``CASE[MODE]``."""
        return printable(f"{self.task.case}[{self.task.mode}]")

    @property
    def failing(self) -> bool:
        """Whether it makes a run red."""
        return self.status in (FINDINGS, ERROR)

    @property
    def message(self) -> str:
        """One line that says why it is not ok."""
        return next((f"{one.title}: {one.message}" for one in self.problems if not one.waived), self.reason)


def items(results: Iterable[Result]) -> list[Item]:
    """The results of a run in a stable order."""
    return sorted((item(one) for one in results), key=lambda one: one.task)


def item(result: Result) -> Item:
    """One result of any command."""
    record = result.record
    problems = tuple(_problems(result))
    reproduce = _line(record.get("reproduce"))
    text = _text(result, problems)
    return Item(
        task=result.task,
        status=result.status,
        seconds=result.seconds,
        group=_line(record.get("model") or result.task.case),
        reason=_line(record.get("reason") or (record.get("what") if "row" in record else "")),
        text=text,
        reproduce=reproduce,
        started=_line(record.get("started")),
        properties=_properties(result, problems),
        problems=problems,
    )


def _line(value: Any) -> str:
    """A text of a record in one line, with what a terminal obeys shown as Python writes it."""
    return printable(" ".join(bounded(str(value)).split())) if value else ""


def _text(result: Result, problems: tuple[Problem, ...]) -> str:
    if not result.failing:
        return ""
    if result.record.get("record", VERDICT) == VERDICT and "case" in result.record:
        try:
            return printable(verdict_text(Verdict.from_json(result.record)))
        except (KeyError, TypeError):  # of a newer minor form: what is known is shown
            pass
    lines = [f"{one.title}: {one.message}" for one in problems] or [_line(result.record.get("reason"))]
    return "\n".join([*lines, f"  reproduce   {_line(result.record.get('reproduce'))}"])


def _properties(result: Result, problems: tuple[Problem, ...]) -> dict[str, str]:
    record = result.record
    named = {"subject": result.task.subject, "model": record.get("model"), "hidden": record.get("hidden")}
    named |= {"padded": record.get("padded"), "mode": result.task.mode, "verdict": result.status}
    named |= {"kind": ", ".join(dict.fromkeys(one.kind for one in problems)), "reproduce": record.get("reproduce")}
    named |= {"fingerprint": result.task.fingerprint}
    return {name: _line(value) for name, value in named.items() if value}


def _problems(result: Result) -> Iterable[Problem]:
    record = result.record
    findings = record.get("findings")
    for finding in findings if isinstance(findings, list) else ():
        if isinstance(finding, dict):
            yield _finding(result.task, finding)
    if not result.failing:
        return
    if "row" in record and "op" in record:
        kind = f"audit-{record['row']}".replace(" ", "-")
        yield _own(
            result, _line(kind), f"{record['op']}: {record['row']} {record['status']}", str(record.get("what", ""))
        )
    for key in ("survived", "false_alarms"):
        for why in record.get(key) or ():
            yield _own(result, "selftest-" + key.replace("_", "-"), f"{result.task.case}: {key}", str(why))
    if result.status == ERROR and "case" in record:
        yield _own(
            result, "harness-error", f"error: {result.task.case}, {result.task.mode}", str(record.get("reason", ""))
        )


def _own(result: Result, kind: str, title: str, message: str) -> Problem:
    """A problem that is no finding of a verdict."""
    return Problem(kind, _line(title), _line(message), fingerprint=fingerprint(*result.task, kind))


def _finding(task: Task, finding: dict[str, Any]) -> Problem:
    kind, stage, line = _line(finding.get("kind")), _line(finding.get("stage")), finding.get("line")
    place = line if isinstance(line, dict) else {}
    number = place.get("number")
    return Problem(
        kind=kind,
        title=f"{kind} at {stage}: {_line(task.case)}, {_line(task.mode)}",
        message=_line(f"{finding.get('what', '')}; {finding.get('cause', '')}"),
        file=relative(str(place.get("file", ""))),
        line=number if isinstance(number, int) and number > 0 else 0,
        page=_line(finding.get("page")),
        fingerprint=str(finding.get("fingerprint") or fingerprint(*task, kind, stage)),
        waived=bool(finding.get("waiver")),
    )


def relative(file: str) -> str:
    """A path below the current folder, as CI engines want it; any other as it is."""
    path = Path(file)
    if file and path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return file
