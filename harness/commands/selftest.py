"""``harness selftest``: plant every fault of a corpus, and print which modes and observers find it."""

import argparse
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.base.errors import BadInput
from harness.base.options import add_device, add_workers, names, seconds
from harness.base.project import find, find_or_in_tree
from harness.commands.recorded.options import add_records, note_nothing_to_do, recording, report_console
from harness.matrix.modes import choose
from harness.output.recording import Recording
from harness.output.terminal import Ticker, new_console
from harness.runs.planned import Task
from harness.runs.results import SELFTEST
from harness.runs.shards import singly
from harness.selftest.tool_names import TOOLS
from harness.workers.pool import runs_on_cuda, workers_for

if TYPE_CHECKING:
    from harness.selftest.score import Scored
    from harness.selftest.trials import Answer, Trials

ABOUT = """\
Test the harness itself. A corpus is a list of faults: layers with one small, known error, many from public bugs. The
self-test runs the check on each fault and prints a matrix: which modes and which observers found it. Beside that stands what
torch's own tools find in the same layer: opcheck, a comparison of eager with compiled, Inductor alone, and on CUDA the
check of torch 2.13 that a graph's inputs are alive.

A fault is killed if every mode that must find it does, with the right explanation. Otherwise it survives. The corpus also has
correct variants, which must give no finding; a finding there is a false alarm. All their trials take two thirds of the time:
a run does one in six, one in eighteen of those that compile or vary, and of each variant at least one, unless --whole,
--faults or --modes ask for more. On a CPU the results of torch's tools are kept, and read again while the harness, the
corpus, torch and the kind of processor stay the same; those three options ask the tools anew.

examples:
  harness selftest                               every fault, in each mode that must find it, and a part of the trials of
                                                 correct variants
  harness selftest --whole                       all trials of correct variants too, as each night
  harness selftest --faults 'vllm#*'             the faults whose ids match
  harness selftest --faults 'vllm#35949' -v      one fault, with the text of its findings
  harness selftest --modes eager,compiled        every fault in these modes
  harness selftest --corpus mymoe.faults         your own corpus (docs/reference/corpus.md)

exit code: 0 every fault killed and no false alarm, 1 a survivor or a false alarm, 2 bad input, 130 Ctrl-C"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness selftest``."""
    parser.description = ABOUT
    parser.add_argument(
        "--faults",
        type=names,
        default=(),
        metavar="LIST",
        help="ids or patterns of faults and correct variants (default: all)",
    )
    parser.add_argument(
        "--modes",
        type=names,
        default=(),
        metavar="LIST",
        help="modes to run each fault in (default: those that must find it)",
    )
    parser.add_argument(
        "--corpus",
        default="",
        metavar="MODULE",
        help="module with the corpus (default: [tool.harness] corpus in pyproject.toml)",
    )
    parser.add_argument(
        "--whole", action="store_true", help="do all trials of the correct variants, and ask torch's tools anew"
    )
    add_device(parser.add_argument)
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=120.0,
        metavar="N",
        help="time limit for one fault in one mode (default: 120)",
    )
    add_records(parser.add_argument_group("records and shards").add_argument, "fault and correct variant")
    add_workers(parser.add_argument)
    parser.add_argument("-v", "--verbose", action="count", default=0, help="print the text of every finding")


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen faults; 0 all killed and no false alarm, else 1. Raises BadInput, KeyboardInterrupt."""
    start = time.monotonic()
    trials = _trials(chosen)
    entries = {Task(trials.corpus.module, entry.id, SELFTEST): entry for entry in trials.entries}
    run = recording(chosen, "selftest", singly(list(entries)))
    earlier = [one for one in run.results.values() if one.failing]
    trials = replace(trials, entries=[entry for task, entry in entries.items() if task in run.todo])
    scored = _scored(trials, chosen, run)
    from harness.selftest.show import LEGEND, SHORT, WIDE, matrix, notes, problems, totals

    console = report_console(chosen)
    console.print(matrix(scored, console.width))
    legend = LEGEND if console.width >= WIDE else f"{LEGEND}\n{SHORT}"
    console.print(f"\n{legend}", markup=False, highlight=False)
    failures = problems(scored) + [f"{one.task.case}: {one.kinds}, before the resume" for one in earlier]
    for text in (*(_texts(scored) if chosen.verbose else ()), *failures):
        console.print(f"\n{text}", markup=False, highlight=False, soft_wrap=True)
    console.print()
    most = len(scored) if chosen.verbose else 4
    for text in (
        *notes(scored, most),
        totals(scored),
        *_left_out(trials),
        *_kept(scored),
        f"{len(trials.all())} trials in {time.monotonic() - start:.1f} s",
    ):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 1 if failures else 0


def _scored(trials: "Trials", chosen: argparse.Namespace, run: Recording) -> "list[Scored]":
    """Run all trials. The record of an entry is written when its last trial has answered."""
    from harness.selftest.record import record
    from harness.selftest.score import Scored

    note_nothing_to_do(run)
    scored = {entry.id: Scored(entry) for entry in trials.entries}
    remaining = Counter(trial.entry for trial in trials.all())
    with run:
        for answer in _with_progress(trials, chosen.workers) if scored else ():
            one = scored[answer.trial.entry]
            one.answers.append(answer)
            remaining[one.entry.id] -= 1
            if not remaining[one.entry.id]:
                run.add(record(one, trials.corpus.module), SELFTEST)
    return list(scored.values())


def _left_out(trials: "Trials") -> list[str]:
    """One line where trials of correct variants were left out."""
    done, every = len(trials.all()), sum(len(trials.every_of(entry)) for entry in trials.entries)
    return [f"left out: {every - done} of the trials of correct variants; --whole does them"] if done < every else []


def _kept(scored: "list[Scored]") -> list[str]:
    """One line where results of torch's tools are those of an earlier run."""
    kept = sum(answer.tools_kept for one in scored for answer in one.answers)
    return (
        [f"torch's tools: {kept} results kept from an earlier run of the same code; --whole asks anew"] if kept else []
    )


def _trials(chosen: argparse.Namespace) -> "Trials":
    cuda = runs_on_cuda(chosen.device)
    modes = tuple(mode.name for mode in choose(list(chosen.modes), cuda))
    project = find() if chosen.corpus else find_or_in_tree()
    module = chosen.corpus or project.corpus
    if not module:
        raise BadInput(
            'no corpus: give --corpus package.module, or name one in pyproject.toml: [tool.harness] corpus = "package.module"'
        )
    from harness.selftest.corpus import load_corpus  # imports the corpus, and so torch
    from harness.selftest.trials import Trials

    whole = bool(chosen.whole or chosen.faults or chosen.modes)
    corpus = load_corpus(module, project.path)
    entries = corpus.chosen(chosen.faults)
    return Trials(corpus, entries, modes, project.path, "cuda" if cuda else "cpu", chosen.seconds, whole)


def _with_progress(trials: "Trials", workers: int) -> "Iterable[Answer]":
    ticker = Ticker(new_console(stderr=True), len(trials.all()), "trials")
    with ticker.running():
        for answer in trials.run(workers_for(workers, trials.device == "cuda")):
            # Where a fault ends the process of torch's own tools, no verdict is lacking.
            ticker.step(f"{answer.trial.entry} {answer.trial.mode}", bool(answer.died) and answer.trial.mode != TOOLS)
            yield answer


def _texts(scored: "list[Scored]") -> list[str]:
    from harness.output.report import verdict_text

    return [
        f"{one.entry.id}\n{verdict_text(answer.verdict)}"
        for one in scored
        for answer in one.shown
        if answer.verdict and answer.verdict.findings
    ]
