"""``harness merge``: the records of shards and nights put together, and what is missing of them."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

from harness.base.cache import require_writable
from harness.base.clashes import refuse_clashes
from harness.base.errors import BadInput
from harness.base.printable import printable
from harness.findings.finding import ERROR, FINDINGS, OK
from harness.output.formats.writing import add_output, check, takes_standard_output, write
from harness.output.records import Records
from harness.output.terminal import new_console
from harness.runs.durations import Durations, cached_file
from harness.runs.gathering import Gathering
from harness.runs.header import RunHeader
from harness.runs.night import Night
from harness.runs.planned import Planned, Task
from harness.runs.results import STATUSES, Result
from harness.runs.shards import Shard

ABOUT = """\
Put the records of shards together, and say what is missing. The first line of each run says what all its shards planned, so
that a shard that died, or never began, shows as incomplete with the tasks that it owes. Records of older formats, and of
several nights or runners, can be among them. A line that cannot be read is left out, and named.

examples:
  harness merge shard-*.jsonl -o night.jsonl          one file, each record once
  harness merge shard-*.jsonl                         only say what is missing and what fails
  harness merge night.jsonl --durations               plan the next shards on this machine by how long these took
  harness merge night.jsonl --durations shards.json   the same in a file, for `harness check --shard 1/8 --durations shards.json`
  harness merge shard-*.jsonl --output junit=padding.xml   also for the CI engine

exit code: 0 complete and nothing fails, 1 something fails, 2 incomplete, an error in the harness, or bad input"""
_SHOWN = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness merge``."""
    parser.description = ABOUT
    parser.add_argument("records", nargs="+", metavar="RECORDS", help="files of --json")
    parser.add_argument("-o", dest="json", metavar="FILE", help="write all records to this file")
    add_output(parser.add_argument)
    about = "write how long each task took, to plan shards by (without FILE: to the cache folder)"
    parser.add_argument("--durations", nargs="?", const="", default=None, metavar="FILE", help=about)
    parser.add_argument("-v", "--verbose", action="count", default=0, help=f"show all, not the first {_SHOWN} failures")


def run(chosen: argparse.Namespace) -> int:
    """Merge; 0 complete and ok, 1 something fails, 2 incomplete or an error. Raises BadInput."""
    written = [("-o", chosen.json), *((f"--output {one.format}", one.file) for one in chosen.output)]
    written += [("--durations", chosen.durations)]
    refuse_clashes([(option, file) for option, file in written if file], [("RECORDS", name) for name in chosen.records])
    check(chosen.output)
    formatted = bool(chosen.output) or os.environ.get("GITHUB_ACTIONS") == "true"
    counts: Counter[str] = Counter()
    every: list[Result] = []  # only where a format needs them all
    failing: list[Result] = []
    seconds: dict[Task, float] = {}
    with Records(chosen.json) if chosen.json else nullcontext() as records:
        gathering = Gathering(chosen.records, records.write if records else lambda data: None)
        for result in gathering:
            counts[result.status] += 1
            if formatted:
                every.append(result)
            if result.failing and len(failing) < (counts.total() if chosen.verbose else _SHOWN):
                failing.append(result)
            if chosen.durations is not None and result.seconds:
                seconds[result.task] = result.seconds
    if not gathering.runs:
        raise gathering.nothing()
    incomplete = [line for night in gathering.nights() for line in _problems(night)]
    headers = [run.header for run in gathering.runs.values() if run.header]
    write(chosen.output, every, headers[0] if headers else RunHeader.new("merge", Planned.whole([]), Shard()))
    _print(_lines(gathering, counts, failing, incomplete), takes_standard_output(chosen.output))
    if chosen.durations is not None:
        _write_durations(chosen.durations, seconds)
    return 2 if incomplete or counts[ERROR] or not counts else int(counts[FINDINGS] > 0)


def _problems(night: Night) -> Iterator[str]:
    """What is wrong with a night besides its findings."""
    yield from night.incomplete()
    yield from (f"not judged: {subject}: {why}" for run in night.runs for subject, why in run.refused.items())


def _lines(gathering: Gathering, counts: "Counter[str]", failing: list[Result], incomplete: list[str]) -> Iterable[str]:
    yield from (f"harness: {note}" for note in gathering.notes)
    for one in failing:
        yield f"{one.status}: {one.task}: {one.kinds}"
        yield f"  reproduce  {one.record.get('reproduce', '')}"
    total = counts[FINDINGS] + counts[ERROR]
    if total > len(failing):
        yield f"and {total - len(failing)} more that fail; -v shows them"
    yield from incomplete
    shown = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status] or status == OK)
    yield f"{len(gathering.runs)} runs, {counts.total()} results: {shown}" + ("; incomplete" if incomplete else "")


def _print(lines: Iterable[str], to_errors: bool) -> None:
    console = new_console(stderr=to_errors)
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _write_durations(name: str, seconds: dict[Task, float]) -> None:
    """Add to the file what was measured. Raises BadInput."""
    file = Path(name) if name else cached_file()
    if not name:
        require_writable()
    known = Durations.read(file) if file.is_file() else Durations()
    try:
        file.write_text(known.with_measured(seconds.items()).to_json(), "utf-8")
    except OSError as error:
        raise BadInput(f"cannot write --durations {file}: {error.strerror}") from None
    print(f"harness: {file}: durations of {len(seconds)} tasks", file=sys.stderr)
