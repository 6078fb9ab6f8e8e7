"""The options of every command that gives verdicts: records, shards and resuming; and the recording that they choose."""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import IO

from rich.console import Console

from harness.audit.row import Row
from harness.base.clashes import refuse_clashes
from harness.base.errors import BadInput
from harness.findings.finding import Verdict
from harness.output.formats.writing import JSON, TEXT, Output, add_output, check, takes_standard_output, write
from harness.output.recording import Recording, changed_environment
from harness.output.records import STANDARD_OUTPUT
from harness.output.terminal import PIPED_WIDTH, new_console
from harness.runs.durations import Durations
from harness.runs.earlier import Earlier
from harness.runs.header import RunHeader
from harness.runs.planned import Planned, Task
from harness.runs.results import Result
from harness.runs.shards import Shard, add_shard, planned

Units = Mapping[str, list[Task]]


def add_records(add: Callable[..., object], what: str) -> None:
    """Where the records go, and which part of the run is done here."""
    about = f"write a JSON record for each {what}, as soon as it is known (docs/reference/records.md)"
    add("--json", metavar="FILE", help=about)
    add_output(add)
    about = "go on after a kill: do only what FILE lacks, and append it (docs/how-to/nightly-matrix.md)"
    add("--resume", metavar="FILE", help=about)
    add_shard(add)
    about = "name of this kind of machine in the records, such as h100 (default: $HARNESS_RUNNER, else the GPU's name)"
    add("--runner", default="", metavar="NAME", help=about)


def recording(chosen: argparse.Namespace, tool: str, units: Units) -> Recording:
    """The recording that the options choose. ``units`` are the tasks that must stay in one shard. Raises BadInput."""
    file = records_file(chosen)
    finish = partial(write_outputs, chosen)
    header = _header(chosen, tool, units)
    if not chosen.resume:
        return Recording(header, file, finish=finish)
    if file and file != chosen.resume:
        raise BadInput(f"--resume {chosen.resume} appends to that file; leave out --json {file}")
    earlier = Earlier.read(chosen.resume, chosen.shard)
    earlier.check(tool, frozenset(header.planned.shards), chosen.shard)
    for note in [*earlier.file.notes, *changed_environment(earlier)]:
        print(f"harness: --resume: {note}", file=sys.stderr)
    earlier.mend()
    return Recording(header, chosen.resume, earlier, finish)


def _outputs(chosen: argparse.Namespace) -> list[Output]:
    """What is written, ``--json FILE`` being ``--output json=FILE``. Raises BadInput."""
    outputs = [*chosen.output, *([Output(JSON, chosen.json)] if chosen.json is not None else [])]
    outputs = [replace(one, file="") if one.file == STANDARD_OUTPUT else one for one in outputs]
    if sum(one.format == JSON for one in outputs) > 1:
        raise BadInput("--json and --output json name two files for the records; leave one out")
    refuse_clashes([(_option(one), one.file) for one in outputs if one.file], _inputs(chosen))
    check([one for one in outputs if one.format != JSON or not one.file])  # Records says why its file cannot be written
    return outputs


def _option(output: Output) -> str:
    return "--json" if output.format == JSON else f"--output {output.format}"


def _inputs(chosen: argparse.Namespace) -> list[tuple[str, str]]:
    """The files that the options name to be read, each with its option."""
    named = (("--models-file", "models_file"), ("--waivers", "waivers"), ("--durations", "durations"))
    return [(option, file) for option, name in named if (file := getattr(chosen, name, None))]


def records_file(chosen: argparse.Namespace) -> str | None:
    """The file of the records, ``-`` for standard output; None where there is none. Raises BadInput."""
    return next((one.file or STANDARD_OUTPUT for one in _outputs(chosen) if one.format == JSON), None)


def write_outputs(chosen: argparse.Namespace, results: list[Result], header: RunHeader) -> None:
    """Write every other format. Raises BadInput."""
    write(_outputs(chosen), results, header)


def report_console(chosen: argparse.Namespace, piped_width: int = PIPED_WIDTH) -> Console:
    """Where the report goes: standard output, standard error where a format has that, or the file of ``--output text=``."""
    outputs = _outputs(chosen)
    file = next((one.file for one in outputs if one.format == TEXT and one.file), "")
    if not file:
        return new_console(takes_standard_output(outputs), piped_width)
    console = new_console(piped_width=piped_width)
    console.file = _opened(file)
    return console


@cache
def _opened(file: str) -> IO[str]:
    """The file of ``--output text=``, open until the command ends: a command may ask for its console twice."""
    return Path(file).open("w", encoding="utf-8", buffering=1)


def _header(chosen: argparse.Namespace, tool: str, units: Units) -> RunHeader:
    tasks = [task for unit in units.values() for task in unit]
    if chosen.shard is None:
        return RunHeader.new(tool, Planned.whole(tasks), Shard(), chosen.runner)
    durations = Durations.read(chosen.durations)
    matrix = planned(units, chosen.shard.of, durations)
    return RunHeader.new(tool, matrix, chosen.shard, chosen.runner, durations.hash)


def by_case(tasks: list[Task]) -> Units:
    """Units of all tasks of a case, which share a process: the rows of an op."""
    units: dict[str, list[Task]] = {}
    for task in tasks:
        units.setdefault(f"{task.subject}\0{task.case}", []).append(task)
    return units


def note_nothing_to_do(run: Recording) -> None:
    """Say on standard error why a run has no task left, where it has none. That is no failure."""
    if run.header.shard.of > 1 and not run.header.tasks:
        print(f"harness: shard {run.header.shard} has no task: there are fewer tasks than shards", file=sys.stderr)
    elif run.results and not run.todo:
        print("harness: --resume: nothing is left to do", file=sys.stderr)


def rows_of(run: Recording, version: str = "") -> list[Row]:
    """The rows of an audit that a resumed run begins with. Raises BadInput where one cannot be read."""
    try:
        return [Row.from_json(one.record) for task, one in run.results.items() if task.subject == version]
    except (KeyError, TypeError):
        raise BadInput("--resume: a row in the file is of another form (docs/reference/records.md)") from None


def verdicts_of(run: Recording) -> list[Verdict]:
    """The verdicts that a resumed run begins with. Raises BadInput where one cannot be read."""
    try:
        return [Verdict.from_json(one.record) for one in run.results.values()]
    except (KeyError, TypeError):
        raise BadInput("--resume: a verdict in the file is of another form (docs/reference/records.md)") from None
