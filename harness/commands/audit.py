"""``harness audit``: one table for each op of what holds and what does not."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from harness.audit.plan import SECONDS, Auditing, Plan, rows
from harness.audit.row import BREAKS, PROPERTIES, SURVEY, Row
from harness.base.errors import BadInput
from harness.base.options import add_workers, names
from harness.base.project import find
from harness.commands import flashinfer
from harness.output.records import Records
from harness.workers.pool import Pool, workers_for
from harness.workers.process import Job

ABOUT = """\
Audit any op of torch's dispatcher, yours or not: schema, mutation, alias, real against fake, dynamic shapes,
functionalisation, Inductor, CUDA graph capture, and opcheck's own findings, on your samples and variants of them.

examples:
  harness audit padded_moe::routed_experts --import kernels.layer.experts
  harness audit mylib::gemm --import mylib.ops --samples mytests.samples:gemm
  harness audit torch.ops.mylib.gemm --import mylib.ops --rows stride,inductor    some rows only
  harness audit --import mylib.ops                 every op that a module registers
  harness audit mylib::gemm --json rows.jsonl      one JSON record a row, as it happens
  harness audit flashinfer                         what the installed FlashInfer declares and does not register
  harness audit flashinfer 'fp4_*' --versions 0.6.18,0.7.2.post1   some of its ops, of two releases, which are fetched

A samples function yields argument tuples, or (args, kwargs) pairs; it may take a torch.device:
  def gemm(device):
      yield (torch.randn(5, 8, device=device), torch.randn(8, 3, device=device))
Sizes that mean different things should differ: equal ones are varied together.

exit code: 0 all that was looked at holds, 1 something breaks, 2 bad input or an op that cannot be run at all"""
_EPILOGUE = "rows: " + ", ".join((SURVEY, *PROPERTIES))


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness audit``."""
    parser.description = ABOUT
    parser.epilog = _EPILOGUE
    add = parser.add_argument
    add("ops", nargs="*", metavar="OP", help="ns::name, ns.name or torch.ops.ns.name, with or without .overload")
    add("--import", dest="modules", action="append", default=[], metavar="MODULE", help="registers the ops; repeatable")
    add(
        "--samples", action="append", default=[], metavar="MODULE:FUNCTION", help="samples for all ops, or one for each"
    )
    add("--versions", type=names, default=(), metavar="LIST", help="of flashinfer: releases, folders, or installed")
    add("--rows", type=names, default=(), metavar="LIST", help="properties to look at (default: all)")
    add("--variant", default="", metavar="TEXT", help="only variants of the samples whose name has this text")
    add("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="where the samples are (default: cpu)")
    add("--seconds", type=float, default=SECONDS, metavar="N", help=f"limit for one row (default: {SECONDS:.0f})")
    add("--json", metavar="FILE", help="write one JSON record a row, as it happens")
    add_workers(add)
    add("-v", "--verbose", action="count", default=0, help="every note")


def run(chosen: argparse.Namespace) -> int:
    """Audit the ops; 0 all holds, 1 something breaks, 2 an op cannot be run at all. Raises BadInput, KeyboardInterrupt."""
    if chosen.ops[:1] == ["flashinfer"]:
        return flashinfer.run(chosen)
    if chosen.versions:
        raise BadInput("--versions is for `harness audit flashinfer`; give flashinfer in the place of an op")
    from rich.console import Console

    from harness.audit.report import exit_code, reproduce_lines, summary, table
    from harness.output.terminal import Ticker

    start = time.monotonic()
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="harness-audit-") as folder, Records(chosen.json) as records:
        auditing = Auditing(_plan(chosen, folder))
        ticker = Ticker(Console(stderr=True), auditing.total, "rows")
        with ticker.running():
            for row in auditing:
                found.append(row)
                records.write(row.to_json())
                ticker.step(f"{row.op} {row.row}", row.status == BREAKS)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for op in auditing.plan.ops:
        mine = [row for row in found if row.op == op]
        console.print(table(op, mine, chosen.verbose))
        for line in reproduce_lines(mine):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print()
    console.print(summary(found, time.monotonic() - start), highlight=False, soft_wrap=True)
    return exit_code(found)


def _plan(chosen: argparse.Namespace, folder: str) -> Plan:
    if chosen.seconds <= 0:
        raise BadInput(f"--seconds is {chosen.seconds:g}; expected more than 0")
    path = tuple(dict.fromkeys((str(Path.cwd()), *find().path)))
    ops = tuple(dict.fromkeys(chosen.ops)) or _discovered(tuple(chosen.modules), path)
    if len(chosen.samples) > 1 and len(chosen.samples) != len(ops):
        raise BadInput(
            f"{len(chosen.samples)} --samples for {len(ops)} ops; give one for all, or one for each in order"
        )
    return Plan(
        ops=ops,
        modules=tuple(chosen.modules),
        samples=tuple(chosen.samples),
        device=chosen.device,
        rows=rows(chosen.rows),
        variant=chosen.variant,
        path=path,
        folder=folder,
        workers=workers_for(chosen.workers, chosen.device == "cuda"),
        seconds=chosen.seconds,
    )


def _discovered(modules: tuple[str, ...], path: tuple[str, ...]) -> tuple[str, ...]:
    if not modules:
        raise BadInput("no op is named; give NAMESPACE::NAME, or --import MODULE for every op that a module registers")
    job = Job("harness.audit.worker:discover", {"modules": modules, "path": path})
    (reply,) = list(Pool(job, [[0]], 1))
    if reply.answer is None:
        raise BadInput(f"importing {', '.join(modules)} ended the process ({reply.died})")
    if reply.answer["ops"]:
        return tuple(reply.answer["ops"])
    raise BadInput(f"importing {', '.join(modules)} registers no op in torch's dispatcher; name the ops themselves")
