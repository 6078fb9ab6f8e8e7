"""``harness vllm``: releases of vLLM, each in a process of its own, and a table of where each breaks."""

import argparse
import time
from dataclasses import dataclass, field

from rich.console import Console

from harness.base.errors import BadInput
from harness.base.options import NARROWING, SELECTION, add_workers
from harness.commands.check import exit_code, followed, selected
from harness.engines.vllm.groups import Grouped, releases_table
from harness.engines.vllm.targets import Target
from harness.findings.finding import Verdict
from harness.matrix.selection import Selection
from harness.output.records import Records
from harness.output.report import grouped, summary, where
from harness.output.terminal import Telling
from harness.workers.plan import Judging
from harness.workers.pool import workers_for

# A layer for each combination of padded or not, with a shared expert or without, latent or not.
MODELS = (
    "gpt-oss-20b",
    "nemotron-3-nano-30b-a3b",
    "synthetic-2880-shared",
    "synthetic-latent-padded",
    "synthetic-latent-padded-noshared",
    "nemotron-3-super-120b-a12b",
    "deepseek-v2-lite",
    "qwen3-30b-a3b",
)
ABOUT = """\
Judge the MoE layer that releases of vLLM ship, on a machine without a GPU: its own layer, runner and custom op, with a
stand-in for the kernel. Releases are fetched from the package index as sources and kept; one environment serves all.

examples:
  harness vllm 0.20.1 0.20.2                       two releases, a layer for each combination of parts
  harness vllm --vllm ~/src/vllm                   a checkout or an unpacked source archive
  harness vllm 0.20.1 --models gpt-oss-20b -v      one model, every finding
  harness vllm 0.33.0 --modes eager,fake           without Inductor
  harness vllm 0.33.0 --json verdicts.jsonl        one JSON record a verdict, as it happens
  harness check --subject vllm                     every model, on the vLLM that is importable

`latent` is what a kernel that writes the true width would break in a release that has no such kernel.

exit code: 0 all ok, 1 findings, 2 bad input, or a release that could not be judged, 130 Ctrl-C (docs/vllm.md)"""
_ABOUT = {"--models": f"model shapes (default: {len(MODELS)}, one for each combination of parts)"}


@dataclass(slots=True)
class Outcome:
    """What was judged, and which targets could not be."""

    verdicts: list[Verdict] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness vllm``."""
    parser.description = ABOUT
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="releases by number: 0.20.1 0.20.2")
    parser.add_argument(
        "--vllm", action="append", default=[], metavar="PATH", help="a checkout or unpacked source archive"
    )
    for option, (kind, about) in (SELECTION | NARROWING).items():
        parser.add_argument(option, type=kind, default=(), metavar="LIST", help=_ABOUT.get(option, about))
    parser.add_argument("--models-file", metavar="FILE", help="a models file of your own (docs/models.md)")
    parser.add_argument("--json", metavar="FILE", help="write one JSON record a verdict, as it happens")
    parser.set_defaults(full=False)
    add_workers(parser.add_argument)
    parser.add_argument("-v", "--verbose", action="count", default=0, help="-v every group and finding; -vv tracebacks")


def run(chosen: argparse.Namespace) -> int:
    """Judge each release; 0 all ok, 1 findings, 2 where one could not be judged. Raises BadInput, KeyboardInterrupt."""
    start = time.monotonic()
    selection = selected(chosen, () if chosen.models_file else MODELS)
    targets = [Target(f"vllm=={release}") for release in chosen.releases] + [
        Target(f"vllm@{path}") for path in chosen.vllm
    ]
    if not targets:
        raise BadInput("give releases, like `harness vllm 0.20.1 0.20.2`, or a source tree with --vllm PATH")
    cases = Grouped(selection)
    outcome = Outcome()
    with Records(chosen.json) as records:
        for one in dict.fromkeys(targets):
            _judge(one, selection, chosen.workers, outcome, records)
    _show(outcome, cases, chosen.verbose, time.monotonic() - start)
    return 2 if outcome.refused else exit_code(outcome.verdicts)


def _judge(one: Target, selection: Selection, workers: int, outcome: Outcome, records: Records) -> None:
    """Add one target's verdicts, or why there are none: the others go on."""
    try:
        with Telling() as tell:
            plan = one.plan(selection, workers_for(workers or 1), tell)
        for verdict in followed(Judging(plan), records):
            outcome.verdicts.append(verdict)  # one by one: a worker that cannot start leaves what was judged
    except BadInput as error:
        outcome.refused[one.spec] = str(error)
        records.write({"subject": one.spec, "status": "error", "reason": str(error)})
        Console(stderr=True).print(f"harness: {one.spec}: {error}", markup=False, highlight=False, soft_wrap=True)


def _show(outcome: Outcome, cases: Grouped, verbose: int, seconds: float) -> None:
    console = Console()
    for text in grouped(outcome.verdicts, verbose):
        console.print(f"{text}\n", markup=False, highlight=False, soft_wrap=True)
    console.print(releases_table(outcome.verdicts, outcome.refused, cases, verbose))
    console.print(f"\n{where(outcome.verdicts)}", highlight=False, soft_wrap=True)
    console.print(summary(outcome.verdicts, seconds), highlight=False, soft_wrap=True)
    for spec, reason in outcome.refused.items():
        console.print(f"not judged: {spec}: {reason}", markup=False, highlight=False, soft_wrap=True)
