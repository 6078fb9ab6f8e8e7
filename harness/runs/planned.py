"""What a run planned: its tasks, each with the shard that judges it. A run writes this first, so that a loss shows."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from harness.base.errors import BadInput
from harness.findings.fingerprint import fingerprint


class Task(NamedTuple):
    """One thing to judge. For an audit: version, op and row; for a self-test: corpus, entry and ``selftest``."""

    subject: str
    case: str
    mode: str

    @property
    def fingerprint(self) -> str:
        """A hash that is the same in every run."""
        return fingerprint(*self)

    def __str__(self) -> str:
        return f"{self.case}, {self.mode}" + (f", {self.subject}" if self.subject else "")


@dataclass(frozen=True, slots=True)
class Planned:
    """The whole matrix of a run: each task with the number of its shard, from 1."""

    shards: Mapping[Task, int]

    @classmethod
    def whole(cls, tasks: Iterable[Task]) -> Self:
        """A run that is not sharded."""
        return cls(dict.fromkeys(tasks, 1))

    @property
    def hash(self) -> str:
        """The same for every shard of one matrix, in whatever order its tasks were listed."""
        lines = sorted("\0".join((*task, str(shard))) for task, shard in self.shards.items())
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def of(self, shard: int) -> frozenset[Task]:
        """The tasks of one shard."""
        return frozenset(task for task, number in self.shards.items() if number == shard)

    def to_json(self) -> dict[str, Any]:
        """The form in a record: the modes of a case together, each with its shard."""
        cases: dict[tuple[str, str], dict[str, int]] = {}
        for task, shard in self.shards.items():
            cases.setdefault((task.subject, task.case), {})[task.mode] = shard
        listed = [{"subject": subject, "case": case, "modes": modes} for (subject, case), modes in cases.items()]
        return {"count": len(self.shards), "hash": self.hash, "cases": listed}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The inverse of ``to_json``. Raises BadInput where it is of another form."""
        try:
            return cls(dict(_tasks(data["cases"])))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise BadInput('"planned" of a run record is of another form (docs/reference/records.md)') from None


def _tasks(cases: list[dict[str, Any]]) -> Iterator[tuple[Task, int]]:
    for entry in cases:
        for mode, shard in entry["modes"].items():
            yield Task(str(entry["subject"]), str(entry["case"]), str(mode)), int(shard)
