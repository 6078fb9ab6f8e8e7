"""``harness audit flashinfer``: audit the ops that one or several FlashInfers declare but do not register with torch."""

import argparse
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from harness.base.errors import BadInput, unknown
from harness.output.records import Records
from harness.workers.pool import workers_for

if TYPE_CHECKING:
    from harness.audit.row import Row
    from harness.engines.flashinfer.plan import FlashInferAudit
    from harness.engines.flashinfer.report import AuditedVersion
    from harness.output.terminal import Ticker

NAME = "flashinfer"


def run(chosen: argparse.Namespace) -> int:
    """Audit each version in turn; 0 all rows hold, 1 a row breaks, 2 a version cannot be audited. Raises BadInput."""
    from harness.engines.flashinfer.report import changes, exit_code, scripts, summary, table, unrun
    from harness.output.terminal import new_console

    _check(chosen)
    start = time.monotonic()
    with Records(chosen.json) as records:
        versions = [_one(named, chosen, records) for named in dict.fromkeys(chosen.versions or ("installed",))]
    console = new_console(piped_width=160)
    judged = [one for one in versions if not one.failed]
    if judged:
        console.print(
            "The real implementation in every row is FlashInfer's own Python around a stub kernel.\n",
            highlight=False,
            soft_wrap=True,
        )
        console.print(table(judged, chosen.verbose))
        for line in scripts(judged[-1]) if chosen.verbose else ():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    lines = (
        [line for one in judged for line in unrun(one)]
        + changes(versions)
        + [summary(one) for one in versions if not one.failed]
    )
    for line in ["", *lines, f"{time.monotonic() - start:.1f} s"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in versions:
        if one.failed:
            print(f"harness: {summary(one)}", file=sys.stderr)
    return exit_code(versions, named=len(chosen.ops) > 1)


def _check(chosen: argparse.Namespace) -> None:
    from harness.engines.flashinfer.plan import ROWS

    for option, value in (("--import", chosen.modules), ("--samples", chosen.samples), ("--variant", chosen.variant)):
        if value:
            raise BadInput(
                f"{option} cannot be used with flashinfer: the harness has its ops and samples; leave it out"
            )
    if chosen.device == "cuda":
        raise BadInput("--device cuda cannot be used with flashinfer: its kernels are stubs on the CPU; leave it out")
    for row in chosen.rows:
        if row not in ROWS:
            raise unknown("row", row, ROWS)


def _one(named: str, chosen: argparse.Namespace, records: Records) -> "AuditedVersion":
    """Audit one version. If that is impossible, the result says why, and the other versions still run."""
    from harness.engines.flashinfer.declared.sites import site
    from harness.engines.flashinfer.plan import FlashInferAudit
    from harness.engines.flashinfer.report import AuditedVersion
    from harness.output.terminal import Ticker, new_console

    version = named
    try:
        with tempfile.TemporaryDirectory(prefix="harness-flashinfer-") as folder:
            if named != "installed":
                print(f"FlashInfer {named}: finding or downloading it", file=sys.stderr)
            installation = site(named)
            version = installation.version
            workers = workers_for(chosen.workers)
            audit = FlashInferAudit(installation, chosen.ops[1:], chosen.rows, folder, (), workers, chosen.seconds)
            ticker = Ticker(new_console(stderr=True), audit.declare(), "rows")
            with ticker.running():
                rows = [_recorded(row, audit, records, ticker) for row in audit]
                scripts = {(row.op, row.row, row.variant): audit.script(row) for row in rows}
    except BadInput as error:
        return AuditedVersion(version, (), str(error))
    return AuditedVersion(version, rows, scripts={key: text for key, text in scripts.items() if text})


def _recorded(row: "Row", audit: "FlashInferAudit", records: Records, ticker: "Ticker") -> "Row":
    version = audit.site.version
    records.write({"version": version, **row.to_json(), "script": audit.script(row)})
    ticker.step(f"{version} {row.op} {row.row}", row.status == "breaks")
    return row
