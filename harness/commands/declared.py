"""``harness audit flashinfer``, ``vllm`` or ``sglang``: audit the ops that releases of an engine declare in Python."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.base.errors import BadInput, unknown
from harness.commands.recorded.options import by_case, recording, report_console, rows_of
from harness.output.recording import Recording
from harness.runs.planned import Task
from harness.runs.results import AUDIT
from harness.workers.pool import workers_for

if TYPE_CHECKING:
    from harness.audit.row import Row
    from harness.engines.declared.engine import Engine
    from harness.engines.declared.plan import DeclaredAudit
    from harness.engines.declared.report import AuditedVersion
    from harness.output.terminal import Ticker


def named(words: Sequence[str]) -> "tuple[Engine, str] | None":
    """The engine that the first word names, and the release after ``==``; None if it names none."""
    from harness.engines.declared.engine import NAMES, engine

    name, _, release = words[0].partition("==") if words else ("", "", "")
    return (engine(name), release) if name in NAMES else None


def run(chosen: argparse.Namespace, engine: "Engine", release: str) -> int:
    """Audit each version in turn; 0 all rows hold, 1 a row breaks, 2 a version cannot be audited. Raises BadInput."""
    from harness.engines.declared.report import changes, exit_code, scripts, summary, table, unrun

    _check(chosen, engine)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="harness-declared-") as folder:
        versions = (*([release] if release else ()), *chosen.versions) or ("installed",)
        prepared = [_prepared(version, chosen, folder, engine) for version in dict.fromkeys(versions)]
        tasks = [Task(one.version, *names) for one in prepared if one.audit for names in one.audit.named()]
        run = recording(chosen, f"audit {engine.name}", by_case(tasks))
        with run:
            audited = [_judged(one, run) for one in prepared]
    console = report_console(chosen, piped_width=160)
    judged = [one for one in audited if not one.failed]
    if judged:
        console.print(
            f"The real side is {engine.title}'s own Python around a stub kernel, where a row does not say otherwise.\n",
            highlight=False,
            soft_wrap=True,
        )
        console.print(table(judged, chosen.verbose))
        for line in scripts(judged[-1]) if chosen.verbose else ():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    lines = (
        [line for one in judged for line in unrun(one)]
        + changes(audited)
        + [summary(one) for one in audited if not one.failed]
    )
    for line in ["", *lines, f"{time.monotonic() - start:.1f} s"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in audited:
        if one.failed:
            print(f"harness: {summary(one)}", file=sys.stderr)
    return exit_code(audited, named=len(chosen.ops) > 1)


def _check(chosen: argparse.Namespace, engine: "Engine") -> None:
    from harness.engines.declared.rows import ROWS

    for option, value in (("--import", chosen.modules), ("--samples", chosen.samples), ("--variant", chosen.variant)):
        if value:
            raise BadInput(
                f"{option} cannot be used with {engine.name}: the harness has its ops and samples; leave it out"
            )
    if chosen.device == "cuda":
        raise BadInput(
            f"--device cuda cannot be used with {engine.name}: its kernels are stubs on the CPU; leave it out"
        )
    for row in chosen.rows:
        if row not in ROWS:
            raise unknown("row", row, ROWS)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A version whose declarations are captured, or the reason why it cannot be audited."""

    version: str
    audit: "DeclaredAudit | None" = None
    failed: str = ""


def _prepared(named: str, chosen: argparse.Namespace, folder: str, engine: "Engine") -> _Prepared:
    """Find a version and capture its declarations. If that is impossible, the result says why, and the others still run."""
    from harness.engines.declared.environment import command
    from harness.engines.declared.plan import DeclaredAudit
    from harness.engines.declared.source.sites import site
    from harness.output.terminal import StatusLine

    version = named
    try:
        if named != "installed":
            print(f"{engine.title} {named}: finding or downloading it", file=sys.stderr)
        installation = site(engine, named)
        version = installation.version
        place = tempfile.mkdtemp(dir=folder)
        workers = workers_for(chosen.workers)
        with StatusLine() as report:
            started = command(engine, report)
        audit = DeclaredAudit(
            engine, installation, chosen.ops[1:], chosen.rows, place, (), workers, chosen.seconds, started
        )
        audit.declare()
    except BadInput as error:
        return _Prepared(version, failed=str(error))
    return _Prepared(version, audit)


def _judged(one: _Prepared, run: Recording) -> "AuditedVersion":
    """Audit one version, as far as this shard has it and it was not done before."""
    from harness.engines.declared.report import AuditedVersion
    from harness.output.terminal import Ticker, new_console

    if one.audit is None:
        run.refuse(one.version, one.failed)
        return AuditedVersion(one.version, (), one.failed)
    wanted = {(task.case, task.mode) for task in run.todo if task.subject == one.version}
    rows = rows_of(run, one.version)
    scripts = {(row.op, row.row, row.variant): run.results[Task(one.version, row.op, row.row)].script for row in rows}
    one.audit.only({op for op, _ in wanted})
    ticker = Ticker(new_console(stderr=True), len(wanted), "rows")
    try:
        with ticker.running():
            for row in one.audit if wanted else ():
                if (row.op, row.row) in wanted:
                    rows.append(_recorded(row, one.audit, run, ticker))
                    scripts[row.op, row.row, row.variant] = one.audit.script(row)
    except BadInput as error:
        return AuditedVersion(one.version, (), str(error))
    return AuditedVersion(one.version, rows, scripts={key: text for key, text in scripts.items() if text})


def _recorded(row: "Row", audit: "DeclaredAudit", run: Recording, ticker: "Ticker") -> "Row":
    version = audit.site.version
    run.add({"version": version, **row.to_json(), "script": audit.script(row)}, AUDIT)
    ticker.step(f"{version} {row.op} {row.row}", row.status == "breaks")
    return row
