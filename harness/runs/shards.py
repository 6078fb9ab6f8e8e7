"""Shards: which of N runners judges which tasks. Every runner works out the same answer for itself."""

import argparse
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.runs.durations import Durations
from harness.runs.planned import Planned, Task

_MOST = 10_000
# How far above the mean a shard may be filled. Eight shards of many tasks then differ by at most 4 %, whatever the hashes say.
_ROOM = 1.005


@dataclass(frozen=True, slots=True)
class Shard:
    """``index`` of ``of`` shards, from 1."""

    index: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


def shard(text: str) -> Shard:
    """The type of ``--shard``: ``3/8``."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    index, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= index <= of <= _MOST:
        raise argparse.ArgumentTypeError(f"--shard is {text!r}; expected I/N, such as 3/8 for the third of eight")
    return Shard(index, of)


def assign(units: Mapping[str, float], of: int) -> dict[str, int]:
    """The shard, from 1, of each unit of work. ``units`` maps a stable name to its seconds.

    The longest unit goes first. Each goes to the shard that its own hash ranks first among those with room; where none
    has room, to the least loaded. Plain longest-first into the least loaded shard is as even, but there one new case
    moves most of the others to another shard, and with it the caches of their runners.
    """
    limit = _ROOM * sum(units.values()) / of
    loads, placed = [0.0] * of, {}
    for name in sorted(units, key=lambda name: (-units[name], _hash(name, 0))):
        ranked = sorted(range(of), key=lambda number: _hash(name, number + 1))
        best = next((number for number in ranked if loads[number] + units[name] <= limit), None)
        if best is None:
            best = min(ranked, key=lambda number: loads[number])
        loads[best] += units[name]
        placed[name] = best + 1
    return placed


def _hash(name: str, number: int) -> bytes:
    return hashlib.sha256(f"{number}\0{name}".encode("utf-8", "surrogatepass")).digest()


def add_shard(add: Callable[..., object]) -> None:
    """The options that the commands and the pytest plugin share."""
    about = "do only the I-th of N parts, such as 3/8; each runner of a CI engine does one"
    add("--shard", type=shard, default=None, metavar="I/N", help=about)
    about = (
        "plan the shards by this file of `harness merge --durations` (default: the cached one, else the built-in one)"
    )
    add("--durations", metavar="FILE", default=None, help=about)


def singly(tasks: list[Task]) -> Mapping[str, list[Task]]:
    """Units of one task each: any of them may go to any shard."""
    return {"\0".join(task): [task] for task in tasks}


def planned(units: Mapping[str, list[Task]], of: int, durations: Durations) -> Planned:
    """Deal out units of tasks that must stay together, such as the rows of one op."""
    seconds = {name: sum(map(durations.of, tasks)) for name, tasks in units.items()}
    shards = assign(seconds, of)
    return Planned({task: shards[name] for name, tasks in units.items() for task in tasks})
