"""Gathering records: files of any format in one pass, each result once, and what was left out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput
from harness.runs.header import RunHeader
from harness.runs.night import Night, Run, nights
from harness.runs.reading import RecordsFile
from harness.runs.results import KINDS, REFUSED, Result, result


@dataclass(slots=True)
class Gathering:
    """Reads files and gives their results. Afterwards ``runs`` says what the files held, ``notes`` what was left out.

    A line that stands in two files, as after copying, counts once. ``write`` is called with each line that is new.
    """

    files: Iterable[str | Path]
    write: Callable[[dict[str, Any]], None] = lambda data: None
    runs: dict[str, Run] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _lines: set[int] = field(default_factory=set)

    def __iter__(self) -> Iterator[Result]:
        """The results, in the order of the files. Raises BadInput if a file cannot be read."""
        for name in self.files:
            file = RecordsFile(Path(name))
            before = len(self._lines)
            yield from self._results(file)
            self.notes += file.notes
            if len(self._lines) == before and not file.notes:
                self.notes.append(f"{name}: holds no record that is new")

    def nothing(self) -> BadInput:
        """The error of a command that finds no result of use in the files: one line, with what was left out and why."""
        why = "; ".join(self.notes) or ", ".join(map(str, self.files))
        return BadInput(f"no results, expected files that `harness check --json FILE` writes: {why}")

    def nights(self) -> list[Night]:
        """The runs, the shards of one matrix together."""
        return nights(list(self.runs.values()))

    def _results(self, file: RecordsFile) -> Iterator[Result]:
        for data in file:
            # A line of an older format does not say of which run it is, so an equal one of another file counts too.
            key = hash((None if "run" in data else str(file.path), repr(data)))
            if key in self._lines:
                continue
            try:
                one = self.take(data, str(file.path))
            except BadInput as error:
                file.reject(str(error))
                continue
            self._lines.add(key)
            self.write(data)
            if one is not None:
                yield one

    def take(self, data: dict[str, Any], name: str = "") -> Result | None:
        """Take a line in; its result, if it is one. ``name`` is the run of a line that names none. Raises BadInput."""
        kind = data.get("record")
        if kind == "run":
            header = RunHeader.from_json(data)
            self._run(header.run).header = header
        elif kind == REFUSED:
            self._run(_text(data, "run")).refused[_text(data, "subject")] = str(data.get("reason", ""))
        elif kind == "end":
            self._end(self._run(_text(data, "run")), data)
        elif kind in KINDS or kind is None:
            one = result(data)
            self._run(one.run or name).add(one)
            return one
        elif kind == "resume":
            self._run(_text(data, "run")).ended = False
        else:
            raise BadInput(f"it is a record of the unknown kind {kind!r:.40}")
        return None

    def _end(self, run: Run, data: dict[str, Any]) -> None:
        run.ended, run.interrupted = True, data.get("interrupted") is True

    def _run(self, name: str) -> Run:
        return self.runs.setdefault(name, Run(name))


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise BadInput(f"it has no {key!r}")
    return value
