"""``harness check``: judge a matrix of cases with live progress, JSON records, a table and the findings."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.base.compiler import compiler, has_compiler
from harness.base.errors import BadInput
from harness.base.options import (
    NARROWING,
    add_device,
    add_limits,
    add_ranks,
    add_selection,
    add_vllm,
    add_waivers,
    add_workers,
    refuse_workers,
)
from harness.base.project import find_or_in_tree
from harness.commands.recorded.gathered import Gathered
from harness.commands.recorded.hosts import Hosts, forwarded, hosts
from harness.commands.recorded.options import add_records, note_nothing_to_do, recording, report_console, verdicts_of
from harness.engines.released.targets import target
from harness.engines.transformers.models import narrowed
from harness.findings.finding import ERROR, FINDINGS, Verdict
from harness.matrix.paths import refuse_paths
from harness.matrix.ranks import REAL
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN
from harness.output.recording import Recording
from harness.output.report import grouped, nothing_judged, skipped, summary, time_per_mode, waived, where
from harness.output.terminal import StatusLine, Ticker, new_console, table
from harness.ranks.ranks_run import RanksRun
from harness.repro.last_run import remember
from harness.runs.durations import Durations
from harness.runs.planned import Task
from harness.runs.shards import singly
from harness.verdict.waivers import Waivers
from harness.workers.plan import Plan, PlanRun
from harness.workers.pool import runs_on_cuda, workers_for

Change = Callable[[Verdict], Verdict]
ABOUT = """\
Check that a padded mixture-of-experts (MoE) layer gives the same result in eager mode, traced with fake tensors,
compiled by torch.compile and replayed from a CUDA graph.

A case is one model shape with one alignment rule, kernel kind, number of ranks and number of tokens. A mode is one way to
run the layer. Each case in each mode gets a verdict: ok, or findings. A finding names the kind of error, the stage of the
layer, the line of your code, the likely cause and the command that reproduces it. `harness list` shows all names.

examples:
  harness check                                    all models and modes, on the layer that comes with the harness
  harness check --models nemotron-3-nano-30b-a3b   one model
  harness check --hidden 2720 --modes compiled     another hidden size, compiled only
  harness check --subject mypkg.layers:MyMoE       your own layer (docs/reference/subject.md)
  harness check --subject vllm                     the layer of the installed vLLM (docs/how-to/vllm-releases.md)
  harness check --ranks real --tp 2                two processes with a shard each, and real collectives
  harness check --json verdicts.jsonl              write a JSON record for each verdict (docs/reference/records.md)
  harness check --on ssh=gpu1,ssh=gpu2 --json night.jsonl   half on each of two machines (docs/how-to/nightly-matrix.md)
  harness check --waivers waivers.toml             findings with a public issue do not fail the run (docs/how-to/waivers.md)

exit code: 0 all ok, 1 findings, 2 bad input or an error in the harness, 130 Ctrl-C"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness check``."""
    parser.description = ABOUT
    add_selection(parser.add_argument_group("which cases to judge").add_argument)
    for option, (kind, about) in NARROWING.items():
        parser.add_argument(option, type=kind, default=(), metavar="LIST", help=about)
    parser.add_argument(
        "--models-file",
        metavar="FILE",
        help="read model shapes and alignment rules from this file (docs/reference/models.md)",
    )
    add_ranks(parser.add_argument)
    add_device(parser.add_argument)
    add_records(parser.add_argument_group("records and shards").add_argument, "verdict")
    about = "run one shard on each of these machines, and gather the records, as in ssh=host1,ssh=host2"
    parser.add_argument("--on", type=hosts, default=(), metavar="HOST,...", help=about)
    add_vllm(parser.add_argument)
    add_waivers(parser.add_argument)
    add_workers(parser.add_argument)
    add_limits(parser.add_argument)
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="-v: print every finding, not one of each kind; -vv: also tracebacks of harness errors",
    )


def run(chosen: argparse.Namespace) -> int:
    """Judge the chosen cases; 0 all ok, 1 findings, 2 a harness error. Raises BadInput, KeyboardInterrupt."""
    start = time.monotonic()
    selection = replace(selection_of(chosen), cuda=runs_on_cuda(chosen.device))
    waivers = Waivers.read(chosen.waivers if chosen.waivers is not None else find_or_in_tree(chosen.subject).waivers)
    _warn_of_compiler(selection)
    if chosen.on:
        return _on_hosts(chosen, start)
    plan = _plan(chosen, selection)
    run = recording(chosen, "check", singly(tasks_of(plan)))
    verdicts = verdicts_of(run)
    for verdict in verdicts:
        waivers.note(verdict)
    _expect(waivers, plan, run)
    with run:
        try:
            verdicts.extend(with_progress(plan, run, waivers.apply))
        except (KeyboardInterrupt, BadInput):
            _show(verdicts, chosen, start)
            raise
    remember(find_or_in_tree(chosen.subject).root, f"harness check {os.getpid()} {time.time()}", verdicts)
    _show(verdicts, chosen, start)
    for line in waivers.unmatched():
        new_console(stderr=True).print(f"harness: {line}", markup=False, soft_wrap=True)
    return judged_code(verdicts, chosen.allow_skipped, run)


def _expect(waivers: Waivers, plan: Plan, run: Recording) -> None:
    """Tell the waivers what the other shards judge."""
    own = run.header.tasks
    for case, mode in plan.selection.tasks() if run.header.shard.of > 1 else ():
        if Task(plan.spec, case.id, mode.name) not in own:
            waivers.expect(case, mode.name, plan.spec)


def _warn_of_compiler(selection: Selection) -> None:
    """One line before any case runs where the compiled modes will be skipped."""
    chosen = any("compiled" in mode.name for _, mode in selection.tasks())
    if chosen and not selection.cuda and not has_compiler():
        print(f"harness: no C++ compiler {compiler()!r}: compiled modes are skipped", file=sys.stderr)


def judged_code(verdicts: list[Verdict], allow_skipped: bool, run: Recording) -> int:
    """The exit code, where a run that judged nothing is no success. Raises BadInput for that."""
    if not run.header.tasks and run.header.planned.shards:
        return 0  # an empty shard
    if not (allow_skipped and verdicts) and (problem := nothing_judged(verdicts)):
        raise BadInput(f"{problem}; --allow-skipped accepts that")
    return exit_code(verdicts)


def _show(verdicts: list[Verdict], chosen: argparse.Namespace, start: float) -> None:
    """The table, the findings and the summary of what was judged; nothing where nothing was."""
    if not verdicts:
        return
    verdicts.sort(key=lambda verdict: (verdict.model, verdict.case, verdict.mode))
    console = report_console(chosen)
    console.print(table(verdicts, console.width))
    for line in (*waived(verdicts), *skipped(verdicts)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for text in grouped(verdicts, chosen.verbose):
        console.print(f"\n{text}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"\n{time_per_mode(verdicts)}", highlight=False, soft_wrap=True)
    console.print(where(verdicts), highlight=False, soft_wrap=True)
    console.print(summary(verdicts, time.monotonic() - start), highlight=False, soft_wrap=True)


def _on_hosts(chosen: argparse.Namespace, start: float) -> int:
    """The run on other machines; 2 where a shard is not whole. Raises BadInput, KeyboardInterrupt."""
    if chosen.resume or chosen.shard:
        raise BadInput("--on runs all shards, one a host; leave out --shard and --resume")
    parser = argparse.ArgumentParser()
    arguments(parser)
    remote = Hosts(chosen.on, forwarded("check", parser, chosen), Durations.read(chosen.durations))
    gathered, ticker = Gathered(chosen), Ticker(new_console(stderr=True), 0)
    verdicts: list[Verdict] = []
    with gathered, ticker.running():
        for line in remote:
            if (verdict := gathered.add(line)) is not None:
                ticker.total = gathered.planned
                ticker.tick(verdict)
                verdicts.append(verdict)
    _show(verdicts, chosen, start)
    problems = [host.problem for host in remote.hosts if host.problem]
    for note in [*problems, *gathered.incomplete()]:
        new_console(stderr=True).print(f"harness: {note}", markup=False, highlight=False, soft_wrap=True)
    return 2 if problems or gathered.missing else exit_code(verdicts)


def tasks_of(plan: Plan) -> list[Task]:
    """The tasks of a plan as a run's records name them."""
    return [Task(plan.spec, case.id, mode.name) for case, mode in plan.selection.tasks()]


def with_progress(plan: Plan, run: Recording, change: Change = lambda verdict: verdict) -> Iterator[Verdict]:
    """The verdicts as they come: ``change`` each, write its record and show the progress. Raises BadInput."""
    wanted = {(task.case, task.mode) for task in run.todo if task.subject == plan.spec}
    note_nothing_to_do(run)
    plan_run = (RanksRun if plan.selection.ranks == REAL else PlanRun)(plan, wanted)
    ticker = Ticker(new_console(stderr=True), len(plan_run.wanted))
    with ticker.running():
        for verdict in map(change, plan_run):
            run.add(verdict.to_json())
            ticker.tick(verdict)
            yield verdict


def exit_code(verdicts: list[Verdict]) -> int:
    """2 if the harness failed on any case, or judged none; else 1 if there is a finding, else 0."""
    statuses = {verdict.status for verdict in verdicts}
    return 2 if ERROR in statuses or not verdicts else 1 if FINDINGS in statuses else 0


def selection_of(chosen: argparse.Namespace, models: tuple[str, ...] = ()) -> Selection:
    """The cases and modes that the options choose; ``models`` if the options name none."""
    return Selection(
        models=chosen.models or models,
        hidden=chosen.hidden,
        tokens=chosen.tokens,
        rules=chosen.rules,
        kernels=chosen.kernels,
        tp=chosen.tp,
        modes=chosen.modes,
        full=chosen.full,
        vary=chosen.vary,
        ranks=getattr(chosen, "ranks", ""),
        collectives=getattr(chosen, "collectives", ()),
        models_file=os.path.realpath(chosen.models_file) if chosen.models_file else str(BUILT_IN),
    )


def _plan(chosen: argparse.Namespace, selection: Selection) -> Plan:
    project = find_or_in_tree(chosen.subject)
    subject = chosen.subject or project.default
    if chosen.full:
        refuse_workers(chosen.workers)
    if selection.ranks == REAL and subject not in project.subjects and target(subject, {"vllm": chosen.vllm}):
        raise BadInput(
            f"--ranks real with --subject {subject}: an engine's layer has ranks of its own; leave --ranks out"
        )
    engine = None if subject in project.subjects else target(subject, {"vllm": chosen.vllm})
    if engine is not None:
        refuse_paths(selection.models, subject)
        with StatusLine() as report:
            return engine.plan(replace(selection, cuda=False), chosen.workers, report)
    if chosen.vllm:
        raise BadInput(f"--vllm {chosen.vllm} needs --subject vllm, and the subject is {subject!r}; change one of them")
    refuse_paths(selection.models, subject)
    workers = workers_for(chosen.workers, selection.cuda or selection.full)
    spec = project.subject(subject)
    return Plan(
        narrowed(spec, selection),
        spec,
        subject,
        chosen.device,
        workers,
        project.path,
        chosen.seconds,
        bisect=True,
        by_sizes=subject in project.by_sizes,
    )
