"""``harness vllm``: check releases of vLLM, each in its own processes, and print a table of what breaks where."""

import argparse
import time
from dataclasses import dataclass, field, replace

from harness.base.errors import BadInput
from harness.base.options import NARROWING, SELECTION, add_workers
from harness.commands.check import exit_code, selection_of, with_progress
from harness.commands.recorded.options import add_records, recording, report_console, verdicts_of
from harness.engines.vllm.groups import Grouped, releases_table
from harness.engines.vllm.targets import Target
from harness.findings.finding import Verdict
from harness.matrix.paths import PATHS
from harness.matrix.selection import Selection
from harness.matrix.shapes import published
from harness.output.recording import Recording
from harness.output.report import grouped, summary, where
from harness.output.terminal import StatusLine, new_console
from harness.runs.planned import Task
from harness.runs.shards import singly
from harness.workers.pool import workers_for

# One model for each combination of padded or not, with or without a shared expert, latent or not; then the code paths of
# vLLM's layer that none of them takes.
MODELS = (
    "gpt-oss-20b",
    "nemotron-3-nano-30b-a3b",
    "synthetic-2880-shared",
    "synthetic-latent-padded",
    "synthetic-latent-routed",
    "nemotron-3-super-120b-a12b",
    "deepseek-v2-lite",
    "qwen3-30b-a3b",
    *PATHS,
)
ABOUT = """\
Check the MoE layer of vLLM releases on a machine without a GPU. The layer, its runner and its custom op are vLLM's own code;
only the fused kernel is replaced by a stand-in written in torch. Releases are downloaded as sources from the package index,
and cached. One cached environment, of some 2 GB, serves all of them; the first run builds it.

Models whose names begin with vllm- are code paths of vLLM's layer that no published shape takes, such as the modular kernel or
the runner's own gate; docs/explanation/vllm.md lists them.

The table has a row for each group of cases that breaks, by hidden size, padded size, layer parts and kernel. Narrow kernels
write the true width, wide ones the padded width. `latent` marks what a narrow kernel would break in a release that has none.

examples:
  harness vllm 0.20.1 0.20.2                       two releases, one model for each combination of layer parts
  harness vllm --vllm ~/src/vllm                   a checkout or an unpacked source archive
  harness vllm 0.20.1 --models gpt-oss-20b -v      one model, with every finding
  harness vllm 0.33.0 --modes eager,fake           without Inductor, which is faster
  harness vllm 0.33.0 --json verdicts.jsonl        write a JSON record for each verdict (docs/reference/records.md)
  harness check --subject vllm                     all models, on the installed vLLM

exit code: 0 all ok, 1 findings, 2 bad input or a release that could not be judged, 130 Ctrl-C (docs/how-to/vllm-releases.md)"""
_ABOUT = {
    "--models": f"model shapes to judge (default: {len(MODELS)}, one for each combination of layer parts and each code path)"
}


@dataclass(slots=True)
class Outcome:
    """The verdicts, and for each target that could not be judged the reason."""

    verdicts: list[Verdict] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness vllm``."""
    parser.description = ABOUT
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="release numbers, such as 0.20.1 0.20.2")
    parser.add_argument(
        "--vllm",
        action="append",
        default=[],
        metavar="PATH",
        help="also check this checkout or unpacked source archive; repeatable",
    )
    for option, (kind, about) in (SELECTION | NARROWING).items():
        parser.add_argument(option, type=kind, default=(), metavar="LIST", help=_ABOUT.get(option, about))
    parser.add_argument(
        "--models-file",
        metavar="FILE",
        help="read model shapes and alignment rules from this file (docs/reference/models.md)",
    )
    add_records(parser.add_argument_group("records and shards").add_argument, "verdict")
    parser.set_defaults(full=False)
    add_workers(parser.add_argument)
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="-v: print every group and finding; -vv: also tracebacks of harness errors",
    )


def run(chosen: argparse.Namespace) -> int:
    """Judge each release; 0 all ok, 1 findings, 2 if one could not be judged. Raises BadInput, KeyboardInterrupt."""
    start = time.monotonic()
    selection = replace(selection_of(chosen, () if chosen.models_file else MODELS), brief=True)
    targets = [Target(f"vllm=={release}") for release in chosen.releases] + [
        Target(f"vllm@{path}") for path in chosen.vllm
    ]
    if not targets:
        raise BadInput(
            "no release is named; give some, as in `harness vllm 0.20.1 0.20.2`, or a source tree with --vllm PATH"
        )
    cases = Grouped(selection)
    names = list(dict.fromkeys(one.spec for one in targets))
    tasks = [Task(name, case.id, mode.name) for name in names for case, mode in selection.tasks()]
    run = recording(chosen, "vllm", singly(tasks))
    outcome = Outcome(verdicts_of(run))
    with run:
        for one in [one for one in dict.fromkeys(targets) if _is_there(one, outcome, run)]:
            _judge(one, selection, chosen.workers, outcome, run)
    _show(outcome, cases, chosen, time.monotonic() - start)
    return 2 if outcome.refused else exit_code(outcome.verdicts)


def _is_there(one: Target, outcome: Outcome, run: Recording) -> bool:
    """Whether there is anything to judge of a target, and its sources are here. They are downloaded before anything is built."""
    if not any(task.subject == one.spec for task in run.todo):
        return False  # another shard has all of it, or it was done before
    try:
        with StatusLine() as report:
            one.find(report)
    except BadInput as error:
        _refuse(one, error, outcome, run)
        return False
    return True


def _judge(one: Target, selection: Selection, workers: int, outcome: Outcome, run: Recording) -> None:
    """Add the verdicts of one target, or the reason why there are none. The other targets still run."""
    try:
        with StatusLine() as report:
            plan = one.plan(selection, workers_for(workers or 1), report)
        for verdict in with_progress(plan, run):
            outcome.verdicts.append(verdict)  # one at a time: if a worker cannot start later on, these verdicts stay
    except BadInput as error:
        _refuse(one, error, outcome, run)


def _refuse(one: Target, error: BadInput, outcome: Outcome, run: Recording) -> None:
    outcome.refused[one.spec] = str(error)
    run.refuse(one.spec, str(error))
    new_console(stderr=True).print(f"harness: {one.spec}: {error}", markup=False, highlight=False, soft_wrap=True)


def _show(outcome: Outcome, cases: Grouped, chosen: argparse.Namespace, seconds: float) -> None:
    console, verbose = report_console(chosen), chosen.verbose
    # A finding that several cases share is shown for the first of them: a model that people run, where there is one.
    for text in grouped(sorted(outcome.verdicts, key=lambda verdict: not published(verdict.model)), verbose):
        console.print(f"{text}\n", markup=False, highlight=False, soft_wrap=True)
    console.print(releases_table(outcome.verdicts, outcome.refused, cases, verbose))
    console.print(f"\n{where(outcome.verdicts)}", highlight=False, soft_wrap=True)
    console.print(summary(outcome.verdicts, seconds), highlight=False, soft_wrap=True)
    for spec, reason in outcome.refused.items():
        console.print(f"not judged: {spec}: {reason}", markup=False, highlight=False, soft_wrap=True)
