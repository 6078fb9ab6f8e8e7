"""What ``harness vllm`` and ``harness sglang`` share: check releases of an engine, and print a table of what breaks where."""

import argparse
import time
from dataclasses import dataclass, field, replace

from harness.base.errors import BadInput
from harness.base.options import NARROWING, SELECTION, add_workers
from harness.base.printable import bounded
from harness.commands.check import exit_code, selection_of, with_progress
from harness.commands.recorded.options import add_records, recording, report_console, verdicts_of
from harness.engines.released.engine import Released
from harness.engines.released.groups import Grouped, releases_table
from harness.engines.released.targets import Target
from harness.engines.released.torch_asked import torch_note
from harness.findings.finding import Verdict
from harness.matrix.selection import Selection
from harness.matrix.shapes import published
from harness.matrix.unplanned import unplanned
from harness.output.recording import Recording
from harness.output.report import grouped, summary, where
from harness.output.terminal import StatusLine, new_console
from harness.runs.planned import Task
from harness.runs.shards import singly

# One model for each combination of padded or not, with or without a shared expert, latent or not.
COMBINATIONS = (
    "gpt-oss-20b",
    "nemotron-3-nano-30b-a3b",
    "synthetic-2880-shared",
    "synthetic-latent-padded",
    "synthetic-latent-routed",
    "nemotron-3-super-120b-a12b",
    "deepseek-v2-lite",
    "qwen3-30b-a3b",
)

_LONGEST_NAME = 200


@dataclass(slots=True)
class Outcome:
    """The verdicts, and for each target that could not be judged the reason."""

    verdicts: list[Verdict] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """The command of one engine: ``models`` are judged unless the user names others, ``about`` is its help."""

    engine: Released
    models: tuple[str, ...]
    about: str
    several: str

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add its options."""
        parser.description = self.about
        parser.add_argument("releases", nargs="*", metavar="RELEASE", help=f"release numbers, such as {self.several}")
        parser.add_argument(
            f"--{self.engine.name}",
            action="append",
            default=[],
            metavar="PATH",
            help="also check this checkout or unpacked source archive; repeatable",
        )
        models = f"model shapes to judge (default: {len(self.models)}, one for each combination of layer parts and each code path)"
        for option, (kind, about) in (SELECTION | NARROWING).items():
            text = models if option == "--models" else about
            parser.add_argument(option, type=kind, default=(), metavar="LIST", help=text)
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

    def run(self, chosen: argparse.Namespace) -> int:
        """Judge each release; 0 all ok, 1 findings, 2 if one could not be judged. Raises BadInput, KeyboardInterrupt."""
        start = time.monotonic()
        selection = replace(selection_of(chosen, () if chosen.models_file else self.models), brief=True)
        targets = self._targets(chosen)
        cases, planned = Grouped(selection), selection.tasks()
        tasks = [Task(one.spec, case.id, mode.name) for one in targets for case, mode in planned]
        run = recording(chosen, self.engine.name, singly(tasks))
        outcome = Outcome(verdicts_of(run))
        with run:
            there = [one for one in targets if _is_there(one, outcome, run)]
            if there and (line := unplanned(selection, planned)):
                new_console(stderr=True).print(f"harness: {line}", markup=False, highlight=False, soft_wrap=True)
            for one in there:
                _judge(one, selection, chosen.workers, outcome, run)
        if outcome.verdicts or not outcome.refused:  # why nothing was judged stands on standard error already
            self._show(outcome, cases, chosen, time.monotonic() - start)
        return 2 if outcome.refused else exit_code(outcome.verdicts)

    def _targets(self, chosen: argparse.Namespace) -> list[Target]:
        """Every release and tree that is named, once. Raises BadInput where there is none."""
        name = self.engine.name
        for text in (*chosen.releases, *getattr(chosen, name)):
            if not text or not text.isprintable():
                raise BadInput(f"{text!r} is no release and no source tree of {self.engine.title}")
        specs = [f"{name}=={release}" for release in chosen.releases]
        specs += [f"{name}@{path}" for path in getattr(chosen, name)]
        if not specs:
            raise BadInput(
                f"no release is named; give some, as in `harness {name} {self.several}`, or a source tree with --{name} PATH"
            )
        return [Target(spec) for spec in dict.fromkeys(specs)]

    def _show(self, outcome: Outcome, cases: Grouped, chosen: argparse.Namespace, seconds: float) -> None:
        console, verbose = report_console(chosen), chosen.verbose
        # A finding that several cases share is shown for the first of them: a model that people run, where there is one.
        for text in grouped(sorted(outcome.verdicts, key=lambda verdict: not published(verdict.model)), verbose):
            console.print(f"{text}\n", markup=False, highlight=False, soft_wrap=True)
        console.print(releases_table(self.engine.title, outcome.verdicts, outcome.refused, cases, verbose))
        console.print(f"\n{where(outcome.verdicts)}", highlight=False, soft_wrap=True)
        console.print(summary(outcome.verdicts, seconds), highlight=False, soft_wrap=True)
        for spec, reason in outcome.refused.items():
            console.print(f"not judged: {spec}: {reason}", markup=False, highlight=False, soft_wrap=True)


def _is_there(one: Target, outcome: Outcome, run: Recording) -> bool:
    """Whether there is anything to judge of a target, and its sources are here. They are downloaded before anything is built."""
    if not any(task.subject == one.spec for task in run.todo):
        return False  # another shard has all of it, or it was done before
    try:
        with StatusLine() as report:
            place = one.find(report)
    except BadInput as error:
        _refuse(one, error, outcome, run)
        return False
    name = f"{one.engine.title} {bounded(one.release or one.path, _LONGEST_NAME)}"
    if place and (note := torch_note(name, place)):
        new_console(stderr=True).print(f"harness: {note}", markup=False, highlight=False, soft_wrap=True)
    return True


def _judge(one: Target, selection: Selection, workers: int, outcome: Outcome, run: Recording) -> None:
    """Add the verdicts of one target, or the reason why there are none. The other targets still run."""
    try:
        with StatusLine() as report:
            plan = one.plan(selection, workers, report)
        for verdict in with_progress(plan, run):
            outcome.verdicts.append(verdict)  # one at a time: if a worker cannot start later on, these verdicts stay
    except BadInput as error:
        _refuse(one, error, outcome, run)


def _refuse(one: Target, error: BadInput, outcome: Outcome, run: Recording) -> None:
    outcome.refused[one.spec] = str(error)
    run.refuse(one.spec, str(error))
    line = str(BadInput(f"harness: {bounded(one.spec, _LONGEST_NAME)}: {error}"))
    new_console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
