"""What the hosts of ``harness check --on`` send: written to the records here, and what of it is missing at the end."""

import argparse
from typing import Any, Self

from harness.base.errors import BadInput
from harness.commands.recorded.options import records_file, write_outputs
from harness.findings.finding import Verdict
from harness.output.records import Records
from harness.runs.gathering import Gathering
from harness.runs.results import Result


class Gathered:
    """The records of several hosts in one file, a context manager. Where ``--json`` names none, nothing is written."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen, self._gathering = chosen, Gathering(())
        self._records = Records(records_file(chosen))
        self._results: list[Result] = []

    def __enter__(self) -> Self:
        self._records.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._records.__exit__(kind, error, trace)
        header = next((run.header for run in self._gathering.runs.values() if run.header), None)
        if header is not None and (kind is None or issubclass(kind, KeyboardInterrupt)):
            write_outputs(self._chosen, self._results, header)

    def add(self, line: dict[str, Any]) -> Verdict | None:
        """Write a line; its verdict, if it is one. Raises BadInput where a host runs another harness."""
        try:
            result = self._gathering.take(line)
            self._records.write(line)
            if result is None:
                return None
            self._results.append(result)
            return Verdict.from_json(result.record)
        except (KeyError, TypeError):
            raise BadInput("a host sends verdicts of another form; install the same harness on every host") from None

    @property
    def planned(self) -> int:
        """How many tasks the whole run has, as far as the hosts have said it."""
        return max((len(run.header.planned.shards) for run in self._gathering.runs.values() if run.header), default=0)

    @property
    def missing(self) -> bool:
        """Whether a task has no result."""
        return any(night.missing for night in self._gathering.nights())

    def incomplete(self) -> list[str]:
        """A line for each shard that lacks results, and how to go on with it."""
        lines = [line for night in self._gathering.nights() for line in night.incomplete()]
        file = records_file(self._chosen)
        hint = f"go on with it here, or where the file is copied to: the same command with --shard I/N --resume {file}"
        return [*lines, *([hint] if lines and file else [])]
