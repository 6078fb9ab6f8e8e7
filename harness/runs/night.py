"""Nights: runs that belong together, such as the eight shards of one matrix, and what is missing of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.runs.header import RunHeader
from harness.runs.planned import Task
from harness.runs.results import Result


@dataclass(slots=True)
class Run:
    """One run as its lines tell it. ``header`` is None for a file of an older format, whose name is then the run's.

    ``done`` holds the fingerprints of the tasks that have a result, as numbers: a million of them fit in memory.
    """

    name: str
    header: RunHeader | None = None
    done: set[int] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    ended: bool = False
    interrupted: bool = False

    def add(self, result: Result) -> None:
        """Count a result."""
        self.done.add(int(result.task.fingerprint, 16))
        self.counts[result.status] += 1

    @property
    def missing(self) -> list[Task]:
        """What this shard planned and has no result of."""
        return [task for task in sorted(self.header.tasks) if not self.has(task)] if self.header else []

    def has(self, task: Task) -> bool:
        """Whether a task has a result, or its subject was refused as a whole."""
        return task.subject in self.refused or int(task.fingerprint, 16) in self.done

    @property
    def end(self) -> str:
        """How it ended, in a word or two."""
        return "interrupted" if self.interrupted else "ended" if self.ended else "killed, or still running"


@dataclass(slots=True)
class Night:
    """The runs of one matrix on one kind of machine: one, or the shards of it. A shard may have been run again elsewhere."""

    runs: list[Run]

    @property
    def header(self) -> RunHeader | None:
        """The header of its first run."""
        return self.runs[0].header

    @property
    def missing(self) -> dict[int, list[Task]]:
        """The tasks without a result, by shard."""
        header = self.header
        if header is None:
            return {}
        by_shard: dict[int, list[Task]] = {}
        for task, shard in sorted(header.planned.shards.items()):
            if not any(run.has(task) for run in self.runs):
                by_shard.setdefault(shard, []).append(task)
        return dict(sorted(by_shard.items()))

    def incomplete(self) -> Iterator[str]:
        """A line for each shard that lacks results: why, how many, and the first of them."""
        for shard, tasks in self.missing.items():
            header = self.header
            assert header is not None
            total = len(header.planned.of(shard))
            named = "; ".join(map(str, tasks[:3])) + ("; ..." if len(tasks) > 3 else "")
            yield f"incomplete: {self._shard(shard)} ({self._why(shard)}): {len(tasks)} of {total} missing: {named}"

    def _shard(self, number: int) -> str:
        header = self.header
        assert header is not None
        part = f"shard {number}/{header.shard.of} of " if header.shard.of > 1 else ""
        return f"{part}{header.title} on {header.runner}"

    def _why(self, number: int) -> str:
        own = [run for run in self.runs if run.header and run.header.shard.index == number]
        return "; ".join(run.end for run in own) or "no records of it"


def nights(runs: list[Run]) -> list[Night]:
    """Put together the shards of one matrix: those of one batch, else the first of each shard, the second of each, ...

    Without a batch, two shards of the same number are of two nights.
    """
    grouped: dict[tuple[object, ...], list[Run]] = {}
    met: Counter[tuple[object, ...]] = Counter()
    for run in sorted(runs, key=lambda run: run.header.started if run.header else ""):
        grouped.setdefault(_key(run, met), []).append(run)
    return [Night(group) for group in grouped.values()]


def _key(run: Run, met: "Counter[tuple[object, ...]]") -> tuple[object, ...]:
    header = run.header
    if header is None:
        return (run.name,)
    matrix = (header.batch, header.tool, header.runner, header.planned.hash)
    if header.batch:
        return matrix
    met[*matrix, header.shard.index] += 1
    return (*matrix, met[*matrix, header.shard.index])
