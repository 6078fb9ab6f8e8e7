"""``harness diff``: two runs compared, and how their environments differ."""

import argparse
import json
from collections.abc import Iterable

from harness.base.errors import BadInput
from harness.base.options import factor
from harness.base.printable import printable
from harness.output.terminal import new_console
from harness.runs.comparison import ABOUT as KINDS
from harness.runs.comparison import Change, Side, changes, environment_changes, fails
from harness.runs.gathering import Gathering

ABOUT = """\
Compare two runs by their records (docs/reference/records.md). A task is a subject, a case and a mode; it is the same one in
both runs if these three are. Two runs of one subject each are compared by case and mode. Each run is the --json file of a
command, or what `harness merge` made of its shards.

examples:
  harness diff yesterday.jsonl today.jsonl
  harness diff torch-2.12.jsonl torch-2.13.jsonl --json    one JSON object, for a script
  harness diff main.jsonl mine.jsonl -v                    every task, not the first of each kind

exit code: 0 nothing new fails, 1 something fails that did not, or in another way, 2 bad input"""
_SHOWN = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``harness diff``."""
    parser.description = ABOUT
    parser.add_argument("before", metavar="A", help="records of the run before")
    parser.add_argument("after", metavar="B", help="records of the run after")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the text")
    about = "a task is slower if it takes FACTOR times as long, and a second more (default: 1.5)"
    parser.add_argument("--slower", type=factor, default=1.5, metavar="FACTOR", help=about)
    parser.add_argument("-v", "--verbose", action="count", default=0, help=f"show all, not the first {_SHOWN} of each")


def run(chosen: argparse.Namespace) -> int:
    """Compare; 0 nothing new fails, else 1. Raises BadInput."""
    before, after = _sides(chosen.before, chosen.after)
    if not before.seen.keys() & after.seen.keys():
        raise BadInput(
            f"{chosen.before} ({len(before.seen)} tasks) and {chosen.after} ({len(after.seen)}) share no task; "
            "compare runs of the same subject and matrix"
        )
    found = list(changes(before, after, chosen.slower))
    environment = environment_changes(before, after)
    if chosen.json:
        incomplete = {"before": before.incomplete, "after": after.incomplete}
        data = {"changes": [one.to_json() for one in found], "environment": environment, "incomplete": incomplete}
        print(json.dumps(data))
    else:
        _print(_lines(before, after, found, environment, _SHOWN if not chosen.verbose else len(found)))
    return int(fails(found))


def _sides(before: str, after: str) -> tuple[Side, Side]:
    """Both runs. Two that have one subject each, such as two releases of vLLM, are compared by case and mode."""
    sides = _side(before), _side(after)
    then, today = (side.subjects for side in sides)
    if len(then) == len(today) == 1 and then != today:
        sides[0].stacks["subject"], sides[1].stacks["subject"] = then, today
        return sides[0].renamed(*today), sides[1]
    return sides


def _side(name: str) -> Side:
    gathering = Gathering([name])
    side = Side.of(gathering)
    if not side.seen:
        raise gathering.nothing()
    for note in gathering.notes:
        new_console(stderr=True).print(f"harness: {printable(note)}", markup=False, highlight=False, soft_wrap=True)
    return side


def _lines(
    before: Side, after: Side, found: list[Change], environment: dict[str, tuple[str, str]], most: int
) -> Iterable[str]:
    for name, (then, today) in environment.items():
        yield f"environment  {name}: {then or 'none'} -> {today or 'none'}"
    for name, side in (("A", before), ("B", after)):
        yield from (f"{name} is {line}" for line in side.incomplete)
    for kind, about in KINDS.items():
        own = [one for one in found if one.kind == kind]
        if own:
            yield f"\n{kind}: {len(own)} ({about})"
        for one in own[:most]:
            yield from _change(one)
        if len(own) > most:
            yield f"  and {len(own) - most} more; -v shows them"
    counts = ", ".join(f"{sum(one.kind == kind for one in found)} {kind}" for kind in KINDS)
    yield f"\n{len(before.seen)} tasks before, {len(after.seen)} after: {counts}"


def _change(one: Change) -> Iterable[str]:
    words = " -> ".join(filter(None, (one.before, one.after)))
    yield f"  {one.task}: {words}"
    if one.reproduce:
        yield f"    reproduce  {one.reproduce}"


def _print(lines: Iterable[str]) -> None:
    console = new_console()
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
