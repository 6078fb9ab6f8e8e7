"""``harness audit``: for each op a table of the properties that hold and those that do not."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from harness.audit.changed import module_names, registering
from harness.audit.plan import SECONDS, AuditRun, Plan, rows
from harness.audit.row import BREAKS, ROW_TEXTS, Row
from harness.base.errors import BadInput
from harness.base.options import add_workers, names, numbers, seconds
from harness.base.project import find
from harness.commands import declared, packaged
from harness.commands.packaged import discovered
from harness.commands.recorded.options import (
    add_records,
    by_case,
    note_nothing_to_do,
    recording,
    report_console,
    rows_of,
)
from harness.matrix.shapes import LARGEST
from harness.ops.spelling import normal
from harness.runs.planned import Task
from harness.runs.results import AUDIT
from harness.workers.pool import workers_for

ABOUT = """\
Audit any op in torch's dispatcher, yours or not. The audit calls the op and its fake implementation on sample arguments, and
on variants of them: other strides, sizes and dtypes. The table has a row for each property that torch.compile and CUDA graphs
rely on, and says whether it holds or breaks. The end of this page lists the rows.

Samples come from --samples, or from the harness's op registry. An op that takes only tensors is tried with random ones.

examples:
  harness audit padded_moe::routed_experts --import kernels.layer.experts
  harness audit mylib::gemm --import mylib.ops --samples mytests.samples:gemm
  harness audit torch.ops.mylib.gemm --import mylib.ops --rows stride,inductor    only these rows
  harness audit --import mylib.ops                 every op that this module registers
  harness audit bitsandbytes==0.49.0               every op that a package registers; it is fetched if it is not installed
  harness audit bitsandbytes 'int8_*' --rows stride   some ops of a package
  harness audit --files mylib/ops.py tests/test_ops.py   the ops that these files register; none is fine (pre-commit)
  harness audit mylib::gemm --json rows.jsonl      write a JSON record for each row (docs/reference/records.md)
  harness audit flashinfer                         the ops that the installed FlashInfer declares but does not register
  harness audit flashinfer 'fp4_*' --versions 0.6.18,0.7.2.post1   some ops of two releases, which pip downloads
  harness audit vllm==0.33.0                       the ops that vLLM declares in Python; sglang==0.5.23 likewise

A samples function yields tuples of arguments, or (args, kwargs) pairs. It may take a torch.device:
  def gemm(device):
      yield (torch.randn(5, 8, device=device), torch.randn(8, 3, device=device))
Use different numbers for sizes with different meanings. The audit varies all equal sizes together.

exit code: 0 every row that was run holds, 1 a row breaks, 2 bad input or an op of which nothing can be run"""
_EPILOGUE = (
    "\n".join(("rows:", *(f"  {name:<18}{about}" for name, about in ROW_TEXTS.items())))
    + """

rows with flashinfer, vllm and sglang only:
  declared schema   torch can infer a schema from the declaration
  parameters        real and fake have the same parameters
  off the CPU       real and fake agree on tensors that are not on the CPU"""
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness audit``."""
    parser.description = ABOUT
    parser.epilog = _EPILOGUE
    add = parser.add_argument
    add(
        "ops",
        nargs="*",
        metavar="OP",
        help="mylib::gemm, mylib.gemm or torch.ops.mylib.gemm, also with .overload; or flashinfer, vllm or sglang, or a package "
        "(==RELEASE)",
    )
    add(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module, which registers the ops; repeatable",
    )
    about = "audit the ops that these Python files register; files that register none are left alone"
    add("--files", nargs="+", default=[], metavar="FILE", help=about)
    add(
        "--samples",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="function that yields sample arguments; one for all ops, or one for each in order",
    )
    add(
        "--versions",
        type=names,
        default=(),
        metavar="LIST",
        help="only with flashinfer, vllm and sglang: release numbers, folders, or installed (default: installed)",
    )
    add("--rows", type=names, default=(), metavar="LIST", help="rows to run (default: all)")
    add("--variant", default="", metavar="TEXT", help="run only the variants of the samples whose name contains TEXT")
    add(
        "--sizes",
        type=numbers,
        default=(),
        metavar="LIST",
        help="more sizes to try for each dimension of the samples, such as 1,64,65 (those in the op's source are tried anyway)",
    )
    add("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="device of the samples (default: cpu)")
    add(
        "--seconds", type=seconds, default=SECONDS, metavar="N", help=f"time limit for one row (default: {SECONDS:.0f})"
    )
    add_records(parser.add_argument_group("records and shards").add_argument, "row")
    add_workers(add)
    add("-v", "--verbose", action="count", default=0, help="print every note, and the seconds of each row")


def run(chosen: argparse.Namespace) -> int:
    """Audit the ops; 0 all rows hold, 1 a row breaks, 2 an op cannot be run. Raises BadInput, KeyboardInterrupt."""
    engine = declared.named(chosen.ops)
    if engine is not None:
        return declared.run(chosen, *engine)
    if chosen.versions:
        raise BadInput(
            "--versions works only with flashinfer, vllm and sglang, as in `harness audit flashinfer --versions 0.7.2.post1`"
        )
    from harness.audit.report import exit_code
    from harness.output.terminal import Ticker, new_console

    if chosen.files and not registering(chosen.files):
        print(f"harness: none of {len(chosen.files)} files registers an op: nothing to audit", file=sys.stderr)
        return 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="harness-audit-") as folder:
        plan = _plan(chosen, folder)
        run = recording(chosen, "audit", by_case([Task("", *names) for names in plan.named()]))
        results = rows_of(run)
        note_nothing_to_do(run)
        with run:
            audit_run = AuditRun(plan, {(task.case, task.mode) for task in run.todo})
            ticker = Ticker(new_console(stderr=True), audit_run.total, "rows")
            with ticker.running():
                try:
                    for row in audit_run:
                        results.append(row)
                        run.add(row.to_json(), AUDIT)
                        ticker.step(f"{row.op} {row.row}", row.status == BREAKS)
                except (KeyboardInterrupt, BadInput):
                    _show(plan.ops, results, chosen, start)
                    raise
    _show(plan.ops, results, chosen, start)
    return exit_code(results) if run.header.tasks else 0


def _show(ops: tuple[str, ...], results: list[Row], chosen: argparse.Namespace, start: float) -> None:
    """The tables, the reproducing commands and the summary of the rows that were looked at; nothing where none was."""
    from harness.audit.report import reproduce_lines, summary, table

    if not results:
        return
    console = report_console(chosen)
    for op in ops:
        own = [row for row in results if row.op == op]
        console.print(table(op, own, chosen.verbose))
        for line in reproduce_lines(own):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print()
    console.print(summary(results, time.monotonic() - start), highlight=False, soft_wrap=True)


def _spelt(words: list[str]) -> tuple[str, ...]:
    """The ops that are named, each once. Raises BadInput for a word that names no op."""
    for word in words:
        normal(word)
    return tuple(dict.fromkeys(words))


def _plan(chosen: argparse.Namespace, folder: str) -> Plan:
    if not all(0 <= size <= LARGEST for size in chosen.sizes):
        shown = ",".join(map(str, chosen.sizes))
        raise BadInput(f"--sizes {shown:.60}: expected sizes of 0 or more and at most {LARGEST:,}, such as 1,64,65")
    path = tuple(dict.fromkeys((str(Path.cwd()), *find().path)))
    changed = module_names(registering(chosen.files), path)
    path = tuple(dict.fromkeys((*(folder for folder, _ in changed), *path)))
    package = packaged.named(chosen.ops)
    found = packaged.found(package, chosen, path) if package else None
    path = found.path if found else path
    imported = tuple(dict.fromkeys((*chosen.modules, *(name for _, name in changed))))
    imported = imported if not found else ()
    ops = found.ops if found else _spelt(chosen.ops) or discovered(imported, path).ops
    if len(chosen.samples) > 1 and len(chosen.samples) != len(ops):
        raise BadInput(
            f"{len(chosen.samples)} --samples for {len(ops)} ops; give one for all, or one for each in order"
        )
    return Plan(
        ops=ops,
        modules=imported,
        samples=tuple(chosen.samples),
        device=chosen.device,
        rows=rows(chosen.rows),
        variant=chosen.variant,
        path=path,
        folder=folder,
        workers=workers_for(chosen.workers, chosen.device == "cuda"),
        seconds=chosen.seconds,
        sizes=chosen.sizes,
        package=found.title if found else "",
        optional=found.modules if found else (),
    )
