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


def assign(units: Mapping[str, float], of: int, kinds: Mapping[str, str] | None = None) -> dict[str, int]:
    """The shard, from 1, of each unit of work. ``units`` maps a stable name to its seconds, ``kinds`` to its mode.

    The longest unit goes first. Each goes to the shard that its own hash ranks first among those with room, for units of
    its mode and in all; where none has room, to the least loaded. Each mode is dealt out evenly, since a machine that
    compiles slowly need not be slow at the rest. Plain longest-first into the least loaded shard is as even, but there
    one new case moves most of the others to another shard, and with it the caches of their runners.
    """
    kinds = kinds or {}
    dealt = _Dealt(units, of, kinds)
    for name in sorted(units, key=lambda name: (-units[name], _hash(name, 0))):
        dealt.place(name, kinds.get(name, ""))
    return dealt.placed


class _Dealt:
    """What the shards have so far: seconds in all, and by mode."""

    def __init__(self, units: Mapping[str, float], of: int, kinds: Mapping[str, str]) -> None:
        self.placed: dict[str, int] = {}
        self._units, self._all = units, [0.0] * of
        self._limit = _ROOM * sum(units.values()) / of
        self._by_kind: dict[str, list[float]] = {}
        self._limits: dict[str, float] = {}
        for name, seconds in units.items():
            kind = kinds.get(name, "")
            self._by_kind.setdefault(kind, [0.0] * of)
            self._limits[kind] = self._limits.get(kind, 0.0) + _ROOM * seconds / of

    def place(self, name: str, kind: str) -> None:
        """Give a unit to a shard."""
        seconds, own = self._units[name], self._by_kind[kind]
        ranked = sorted(range(len(own)), key=lambda number: _hash(name, number + 1))
        roomy = [number for number in ranked if self._all[number] + seconds <= self._limit]
        best = next((number for number in roomy if own[number] + seconds <= self._limits[kind]), None)
        if best is None:
            best = min(roomy, key=own.__getitem__) if roomy else min(ranked, key=self._all.__getitem__)
        self._all[best] += seconds
        own[best] += seconds
        self.placed[name] = best + 1


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
    kinds = {name: tasks[0].mode for name, tasks in units.items()}
    shards = assign(seconds, of, kinds)
    return Planned({task: shards[name] for name, tasks in units.items() for task in tasks})
