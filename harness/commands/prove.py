"""``harness prove``: prove a layer's shapes for all hidden sizes at once, and give the exact set of sizes that fail."""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from rich.table import Table

from harness.base.errors import BadInput
from harness.base.options import NARROWING, add_limits, add_subject, add_workers, names, whole
from harness.base.printable import printable
from harness.base.project import find_or_in_tree
from harness.commands.check import judged_code, tasks_of, with_progress
from harness.commands.recorded.options import add_records, recording, report_console, verdicts_of
from harness.findings.finding import ERROR, FINDINGS, OK, SKIPPED, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import PROOF
from harness.matrix.paths import refuse_paths
from harness.matrix.selection import Selection
from harness.matrix.shapes import LARGEST
from harness.output.report import grouped, where
from harness.output.terminal import new_console
from harness.runs.shards import singly
from harness.workers.plan import Plan, PlanRun
from harness.workers.pool import Pool, workers_for
from harness.workers.process import Job

ABOUT = """\
Prove that a layer's shapes, strides, dtypes and all-reduce are right for every hidden size from 1 to 65,536 at once, and
for every latent width if the layer has one. If only remainders of the size matter, the proof also holds for larger sizes.

The prover builds the layer at a few small sizes and derives a layer with symbolic sizes from them. It traces that layer over
fake tensors, once for each region of sizes that take the same branches. The result is the exact set of sizes that fail.
docs/explanation/proof.md explains the method.

examples:
  harness prove                                     every combination of layer parts, rules, kernels and ranks
  harness prove --subject 'vllm#35949'              which sizes this bug of vLLM breaks
  harness prove --models gpt-oss-20b -v             one model's layer, with regions, guards and obligations
  harness prove --models any-shared --exhaustive 3000   also run the layer at every size up to 3000, and compare

exit code: 0 no size fails, 1 some sizes fail, 2 bad input or an error in the harness, 130 Ctrl-C
A combination can also be 'not provable'. That does not change the exit code; the report says why."""
_ABOUT = {"--rules": "alignment rules (default: each of them)"}
_LABEL = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness prove``."""
    parser.description = ABOUT
    add_subject(parser.add_argument)
    models = (
        "model shapes, or any-plain, any-shared, any-latent, any-shared-latent: a layer with these parts "
        "at any size (default: these four)"
    )
    parser.add_argument("--models", type=names, default=(), metavar="LIST", help=models)
    for option, (kind, about) in NARROWING.items():
        parser.add_argument(option, type=kind, default=(), metavar="LIST", help=_ABOUT.get(option, about))
    parser.add_argument(
        "--exhaustive",
        type=whole,
        default=0,
        metavar="N",
        help="also run the layer at every size from 2 to N, and compare with the proof",
    )
    add_records(parser.add_argument_group("records and shards").add_argument, "combination")
    add_workers(parser.add_argument)
    add_limits(parser.add_argument)
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="also print the regions, guards and obligations of each combination",
    )


def run(chosen: argparse.Namespace) -> int:
    """Prove the chosen combinations; 0 proven, 1 findings, 2 a harness error. Raises BadInput, KeyboardInterrupt."""
    start = time.monotonic()
    if chosen.exhaustive < 0 or chosen.exhaustive > LARGEST:
        raise BadInput(f"--exhaustive is {chosen.exhaustive}; expected the largest size to run, 2 to {LARGEST:,}")
    plan = _plan(chosen)
    run = recording(chosen, "prove", singly(tasks_of(plan)))
    plan_run = PlanRun(plan, {(task.case, task.mode) for task in run.header.tasks})
    by_case = {verdict.case: verdict for verdict in verdicts_of(run)}
    with run:
        try:
            by_case.update((verdict.case, verdict) for verdict in with_progress(plan, run))
        except (KeyboardInterrupt, BadInput):
            _show(plan_run, by_case, chosen, {}, start)
            raise
    obligations = dict(_worker_answers(plan_run, 0)) if chosen.verbose else {}
    verdicts = _show(plan_run, by_case, chosen, obligations, start)
    code = judged_code(verdicts, chosen.allow_skipped, run)
    return max(code, _exhaustive(plan_run, chosen.exhaustive) if chosen.exhaustive else 0)


def _show(
    plan_run: PlanRun,
    by_case: dict[str, Verdict],
    chosen: argparse.Namespace,
    obligations: dict[Case, dict[str, Any]],
    start: float,
) -> list[Verdict]:
    """The table, the texts and the summary of what was proven; returns its verdicts."""
    proofs = [(case, by_case[case.id]) for case, _ in plan_run.tasks if case.id in by_case]
    if not proofs:
        return []
    console = report_console(chosen)
    console.print(_table(proofs))
    texts = [
        _details(case, verdict.proof, obligations.get(case, {}))
        for case, verdict in proofs
        if chosen.verbose and verdict.proof
    ]
    texts += [f"{label(case)}: {printable(verdict.reason)}" for case, verdict in proofs if verdict.status == SKIPPED]
    verdicts = [verdict for _, verdict in proofs]
    for text in texts + grouped(verdicts, chosen.verbose):
        console.print(f"\n{text}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"\n{where(verdicts)}", highlight=False, soft_wrap=True)
    console.print(_summary(verdicts, time.monotonic() - start), highlight=False, soft_wrap=True)
    return verdicts


def _plan(chosen: argparse.Namespace) -> Plan:
    project = find_or_in_tree(chosen.subject)
    subject = chosen.subject or project.default
    refuse_paths(chosen.models, subject)
    selection = Selection(
        models=chosen.models, rules=chosen.rules, kernels=chosen.kernels, tp=chosen.tp, modes=(PROOF.name,)
    )
    spec = project.subject(subject)
    return Plan(selection, spec, subject, "cpu", workers_for(chosen.workers), project.path, chosen.seconds)


def label(case: Case) -> str:
    """The combination: ``any-shared, trtllm-nvfp4, wide kernel, tp 2``."""
    return f"{case.model}, {case.alignment.name}, {case.kernel} kernel, tp {case.tp}"


def _table(proofs: Iterable[tuple[Case, Verdict]]) -> Table:
    """A table of layers and alignment rules. A cell says how many of its combinations of kernel and ranks are proven."""
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case, verdict in proofs:
        cells[case.model, case.alignment.name].append(verdict.status)
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("layer", no_wrap=True, overflow="fold")
    rules = list(dict.fromkeys(rule for _, rule in cells))
    for rule in rules:
        grid.add_column(rule.replace("-", "\n"), justify="right", overflow="fold")
    for model in dict.fromkeys(model for model, _ in cells):
        grid.add_row(model, *(_cell(cells[model, rule]) for rule in rules))
    return grid


def _cell(statuses: list[str]) -> str:
    labels = {ERROR: "error", FINDINGS: "[bold red]fail[/]", SKIPPED: "[yellow]unknown[/]", OK: "[green]proven[/]"}
    worst = next((status for status in labels if status in statuses), OK)
    count = statuses.count(worst)
    return f"{count} {labels[worst]}" if worst == OK else f"{count} of {len(statuses)} {labels[worst]}"


def _details(case: Case, proof: dict[str, Any], answer: dict[str, Any]) -> str:
    failing = f"{proof['failing']}: " if proof["failing"] else ""
    rows = [f"{label(case)}: {failing}{proof['count']:,} of {proof['total']:,} fail, {proof['sizes']}"]
    for region in proof["regions"]:
        runs = ", ".join(" x ".join(map(str, sizes)) for sizes in region["runs"])
        rows.append(f"  {'region':<{_LABEL}}{region['where']} ({region['count']:,}): {region['ends'] or 'well'}")
        rows.append(f"  {'':<{_LABEL}}under {' and '.join(region['guards']) or 'no guard'}; real runs at {runs}")
    rows += [f"  {'must hold':<{_LABEL}}{text}" for text in answer.get("must", [answer.get("reason")])]
    if proof["counterexample"]:
        rows.append(f"  {'first':<{_LABEL}}{' x '.join(map(str, proof['counterexample']))}")
    rows += [f"  {'model':<{_LABEL}}{model}" for model in proof["models"]]
    rows.append(f"  {'beyond':<{_LABEL}}{proof['beyond']}")
    return "\n".join(rows + ([f"  {'size 1':<{_LABEL}}{proof['one']}"] if proof["one"] else []))


def _summary(verdicts: list[Verdict], seconds: float) -> str:
    counts = [(status, sum(verdict.status == status for verdict in verdicts)) for status in (FINDINGS, SKIPPED, ERROR)]
    labels = {FINDINGS: "fail", SKIPPED: "not provable", ERROR: "error"}
    rest = "".join(f", {count} {labels[status]}" for status, count in counts if count)
    proven = sum(verdict.ok for verdict in verdicts)
    sizes = sorted({verdict.proof["sizes"] for verdict in verdicts if verdict.proof.get("sizes")})
    total = f"{len(verdicts)} combination{'s'[: len(verdicts) != 1]}: {proven} proven{rest}"
    return "; ".join((total, *sizes, f"{seconds:.1f} s"))


def _exhaustive(plan_run: PlanRun, largest: int) -> int:
    """Run each combination at every size and compare with its proof; 1 if they differ anywhere."""
    console, differing = new_console(), 0
    console.print()
    for case, answer in _worker_answers(plan_run, largest):
        differing += "reason" in answer or bool(answer["disagree"])
        console.print(f"{label(case)}: {_compared(answer, largest)}", markup=False, highlight=False, soft_wrap=True)
    return int(differing > 0)


def _worker_answers(plan_run: PlanRun, largest: int) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Each case with its obligations, or with ``largest`` the comparison with real runs; ``reason`` if there is none."""
    settings = plan_run.plan.job.settings | {"largest": largest}
    tasks = [[index] for index in plan_run.wanted]
    if not tasks:
        return
    for reply in Pool(Job("harness.workers.proof_tasks:start", settings, 3600.0), tasks, plan_run.plan.workers):
        yield plan_run.tasks[reply.task][0], reply.answer or {"reason": reply.died}


def _compared(answer: dict[str, Any], largest: int) -> str:
    if "reason" in answer:
        return f"not compared: {answer['reason']}"
    summary = f"{answer['failed']:,} of {answer['ran']:,} real runs up to {largest} fail"
    return (
        f"{summary}; the proof disagrees at {answer['disagree'][:8]}" if answer["disagree"] else f"{summary}, as proven"
    )
