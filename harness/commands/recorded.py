"""The options of every command that gives verdicts: records, shards and resuming; and the recording that they choose."""

import argparse
import sys
from collections.abc import Callable, Mapping

from harness.audit.row import Row
from harness.base.errors import BadInput
from harness.findings.finding import Verdict
from harness.output.recording import Recording, changed_environment
from harness.runs.durations import Durations
from harness.runs.earlier import Earlier
from harness.runs.header import RunHeader
from harness.runs.planned import Planned, Task
from harness.runs.shards import Shard, add_shard, planned

Units = Mapping[str, list[Task]]


def add_records(add: Callable[..., object], what: str) -> None:
    """Where the records go, and which part of the run is done here."""
    about = f"write a JSON record for each {what}, as soon as it is known (docs/reference/records.md)"
    add("--json", metavar="FILE", help=about)
    about = "go on after a kill: do only what FILE lacks, and append it (docs/how-to/nightly-matrix.md)"
    add("--resume", metavar="FILE", help=about)
    add_shard(add)
    about = "name of this kind of machine in the records, such as h100 (default: $HARNESS_RUNNER, else the GPU's name)"
    add("--runner", default="", metavar="NAME", help=about)


def recording(chosen: argparse.Namespace, tool: str, units: Units) -> Recording:
    """The recording that the options choose. ``units`` are the tasks that must stay in one shard. Raises BadInput."""
    header = _header(chosen, tool, units)
    if not chosen.resume:
        return Recording(header, chosen.json)
    if chosen.json and chosen.json != chosen.resume:
        raise BadInput(f"--resume {chosen.resume} appends to that file; leave out --json {chosen.json}")
    earlier = Earlier.read(chosen.resume)
    earlier.check(tool, frozenset(header.planned.shards), chosen.shard)
    for note in [*earlier.file.notes, *changed_environment(earlier)]:
        print(f"harness: --resume: {note}", file=sys.stderr)
    earlier.mend()
    return Recording(header, chosen.resume, earlier)


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
    elif not run.todo:
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
