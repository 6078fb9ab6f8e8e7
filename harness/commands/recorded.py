"""The options of every command that gives verdicts: records, shards and resuming; and the recording that they choose."""

import argparse
import sys
from collections.abc import Callable, Mapping

from harness.base.errors import BadInput
from harness.output.recording import Recording, changed_environment
from harness.runs.durations import Durations
from harness.runs.earlier import Earlier
from harness.runs.header import RunHeader
from harness.runs.planned import Planned, Task
from harness.runs.shards import Shard, planned, shard

Units = Mapping[str, list[Task]]


def add_records(add: Callable[..., object], what: str) -> None:
    """Where the records go, and which part of the run is done here."""
    about = f"write a JSON record for each {what}, as soon as it is known (docs/reference/records.md)"
    add("--json", metavar="FILE", help=about)
    about = "go on after a kill: do only what FILE lacks, and append it (docs/how-to/nightly-matrix.md)"
    add("--resume", metavar="FILE", help=about)
    about = "do only the I-th of N parts, such as 3/8; each runner of a CI engine does one"
    add("--shard", type=shard, default=None, metavar="I/N", help=about)
    about = "plan the shards by this file of `harness merge --durations` (default: the cached one, else the built-in one)"
    add("--durations", metavar="FILE", help=about)
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


def singly(tasks: list[Task]) -> Units:
    """Units of one task each: any of them may go to any shard."""
    return {"\0".join(task): [task] for task in tasks}


def nothing_to_do(run: Recording) -> str:
    """Why a run has no task left; empty where it has some. Neither is a failure."""
    if run.header.shard.of > 1 and not run.header.tasks:
        return f"shard {run.header.shard} has no task: there are fewer tasks than shards"
    return "" if run.todo else "nothing is left to do"

