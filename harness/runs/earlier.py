"""What a run that was killed has done already: what ``--resume FILE`` does not do again."""

import os
from dataclasses import dataclass
from pathlib import Path

from harness.base.errors import BadInput
from harness.runs.header import PYTEST, RunHeader
from harness.runs.planned import Task
from harness.runs.reading import RecordsFile
from harness.runs.results import KINDS, Result, result
from harness.runs.shards import Shard


@dataclass(frozen=True, slots=True)
class Earlier:
    """The header and the results in a records file of one run."""

    path: Path
    header: RunHeader
    results: dict[Task, Result]
    file: RecordsFile

    @classmethod
    def read(cls, path: str, asked: Shard | None = None) -> "Earlier":
        """Read the run in the file; of several, the one that is the shard asked for. Raises BadInput where there is none."""
        headers, results, file = [], [], RecordsFile(Path(path))
        for data in file:
            if data.get("record") == "run":
                headers.append(RunHeader.from_json(data))
            elif data.get("record") in KINDS:
                results.append(result(data))
        fitting = [one for one in headers if len(headers) == 1 or one.shard == asked]
        if len(fitting) != 1:
            which = f" of which {len(fitting)} are shard {asked}" if asked else ""
            raise BadInput(f"cannot resume {path}: it holds {len(headers)} runs{which}; expected one (or --shard I/N)")
        own = {one.task: one for one in results if one.run == fitting[0].run}
        return cls(Path(path), fitting[0], own, file)

    def check(self, tool: str, tasks: frozenset[Task], asked: Shard | None) -> None:
        """Raise BadInput where it is of another matrix, command or shard than is asked for now."""
        known = frozenset(self.header.planned.shards)
        if self.header.tool != tool:
            hint = "run the shard again" if self.header.tool == PYTEST else "resume it with that"
            raise BadInput(f"cannot resume {self.path}: it is of `{self.header.title}`; {hint}")
        if known != tasks:
            new, gone = len(tasks - known), len(known - tasks)
            raise BadInput(
                f"cannot resume {self.path}: this command plans other tasks ({new} that it has not, {gone} of its own are "
                f"left out); give the options that it began with: {self.header.command}"
            )
        if asked is not None and asked != self.header.shard:
            raise BadInput(f"cannot resume {self.path}: it is shard {self.header.shard}, and --shard is {asked}")

    @property
    def remaining(self) -> frozenset[Task]:
        """What is left to do."""
        return self.header.tasks - self.results.keys()

    def mend(self) -> None:
        """Drop half a line at the end of the file, and end a whole one. Raises BadInput where that is impossible."""
        try:
            with self.path.open("rb+") as file:
                if self.file.cut:
                    file.truncate(_end_of_last_line(file.fileno()))
                elif self.file.unended:
                    file.seek(0, os.SEEK_END)
                    file.write(b"\n")
        except OSError as error:
            raise BadInput(f"cannot resume {self.path}: {error.strerror}") from None


def _end_of_last_line(file: int) -> int:
    """The place after the last newline of a file."""
    end, step = os.fstat(file).st_size, 1 << 16
    while end:
        start = max(0, end - step)
        place = os.pread(file, end - start, start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0
