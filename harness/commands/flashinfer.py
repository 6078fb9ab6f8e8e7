"""``harness audit flashinfer``: what FlashInfer declares to torch and does not register, of one release or several."""

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
    from harness.engines.flashinfer.plan import Lane
    from harness.engines.flashinfer.report import Audited
    from harness.output.terminal import Ticker

NAME = "flashinfer"


def run(chosen: argparse.Namespace) -> int:
    """Audit each version in turn; 0 all holds, 1 something breaks, 2 one cannot be judged. Raises BadInput."""
    from rich.console import Console

    from harness.engines.flashinfer.report import changes, exit_code, scripts, summary, table, unrun

    _check(chosen)
    start = time.monotonic()
    with Records(chosen.json) as records:
        found = [_one(named, chosen, records) for named in dict.fromkeys(chosen.versions or ("installed",))]
    console = Console(width=None if sys.stdout.isatty() else 160)
    judged = [one for one in found if not one.failed]
    if judged:
        console.print("The real side of every row is FlashInfer's own Python around a stub kernel.\n", highlight=False)
        console.print(table(judged, chosen.verbose))
        for line in scripts(judged[-1]) if chosen.verbose else ():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    told = (
        [line for one in judged for line in unrun(one)]
        + changes(found)
        + [summary(one) for one in found if not one.failed]
    )
    for line in ["", *told, f"{time.monotonic() - start:.1f} s"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in found:
        if one.failed:
            print(f"harness: {summary(one)}", file=sys.stderr)
    return exit_code(found, named=len(chosen.ops) > 1)


def _check(chosen: argparse.Namespace) -> None:
    from harness.engines.flashinfer.plan import ROWS

    for option, value in (("--import", chosen.modules), ("--samples", chosen.samples), ("--variant", chosen.variant)):
        if value:
            raise BadInput(f"{option} means nothing for flashinfer, whose ops and samples are known here")
    if chosen.device == "cuda":
        raise BadInput("--device cuda means nothing for flashinfer: its kernels are stubs here, on the CPU")
    for row in chosen.rows:
        if row not in ROWS:
            raise unknown("row", row, ROWS)


def _one(named: str, chosen: argparse.Namespace, records: Records) -> "Audited":
    """One version; what makes it impossible to judge is kept, and the others go on."""
    from rich.console import Console

    from harness.engines.flashinfer.declared.sites import site
    from harness.engines.flashinfer.plan import Lane
    from harness.engines.flashinfer.report import Audited
    from harness.output.terminal import Ticker

    version = named
    try:
        with tempfile.TemporaryDirectory(prefix="harness-flashinfer-") as folder:
            if named != "installed":
                print(f"FlashInfer {named}: looking for it", file=sys.stderr)
            found = site(named)
            version = found.version
            workers = workers_for(chosen.workers)
            lane = Lane(found, chosen.ops[1:], chosen.rows, folder, (), workers, chosen.seconds)
            ticker = Ticker(Console(stderr=True), lane.declare(), "rows")
            with ticker.running():
                rows = [_told(row, lane, records, ticker) for row in lane]
                scripts = {(row.op, row.row, row.variant): lane.script(row) for row in rows}
    except BadInput as error:
        return Audited(version, (), str(error))
    return Audited(version, rows, scripts={key: text for key, text in scripts.items() if text})


def _told(row: "Row", lane: "Lane", records: Records, ticker: "Ticker") -> "Row":
    version = lane.site.version
    records.write({"version": version, **row.to_json(), "script": lane.script(row)})
    ticker.step(f"{version} {row.op} {row.row}", row.status == "breaks")
    return row
