"""Lines of records files, one at a time: of files and of folders, plain or compressed by gzip."""

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

from harness.base.errors import BadInput
from harness.nightly.record import kind_of

PATTERNS = ("*.jsonl", "*.jsonl.gz", "*.json", "*.ndjson")
_GZIP = b"\x1f\x8b"


@dataclass
class Notes:
    """What could not be read of one file. ``foreign`` counts its lines that are no records; ``first`` describes one."""

    path: Path
    records: int = 0
    foreign: int = 0
    first: str = ""
    cut: bool = False
    error: str = ""

    def reject(self, number: int, reason: str) -> None:
        """Count a line that cannot be used."""
        self.foreign += 1
        self.first = self.first or f"line {number}: {reason}"

    @property
    def lines(self) -> list[str]:
        """One line for each thing that is wrong with the file."""
        rows = []
        if self.cut:
            rows.append(
                f"{self.path}: the last line ends in the middle of a record, so its run was stopped; the rest is used"
            )
        if self.foreign:
            rows.append(f"{self.path}: {self.foreign:,} line(s) are not used; the first is {self.first}")
        if self.error:
            rows.append(f"{self.path}: {self.error}; the {self.records:,} record(s) before are used")
        if not (self.records or rows):
            rows.append(f"{self.path}: it has no record")
        return rows


def expanded(paths: list[str]) -> list[Path]:
    """The files of the given paths; a folder stands for the records files anywhere below it. Raises BadInput."""
    files: dict[Path, None] = {}
    for path in map(Path, filter(_named, paths)):
        inside = sorted(_below(path)) if os.path.isdir(path) else [path]
        if not inside:
            raise BadInput(
                f"{path}: no records file in this folder; expected files such as night.jsonl or night.jsonl.gz"
            )
        files |= dict.fromkeys(inside)
    for file in files:
        if not os.path.isfile(file):
            raise BadInput(f"{file}: there is no such file; give records files of --json, or folders of them")
    return list(files)


def _named(path: str) -> str:
    if not path:
        raise BadInput("one of the paths is empty; give records files of --json, or folders of them")
    return path


def _below(folder: Path) -> set[Path]:
    """The records files anywhere below a folder. What is removed meanwhile is left out."""
    names = [(place, name) for place, _, files in os.walk(folder) for name in files]
    return {Path(place, name) for place, name in names if any(fnmatch(name, pattern) for pattern in PATTERNS)}


@dataclass
class RecordsFile:
    """A records file to iterate over: ``(kind, record)`` of each line that can be used. ``notes`` has the rest."""

    path: Path
    notes: Notes = field(init=False)

    def __post_init__(self) -> None:
        self.notes = Notes(self.path)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            with _opened(self.path) as file:
                yield from self._records(file)
        except (OSError, EOFError) as error:  # a gzip file that was cut short raises EOFError
            self.notes.error = f"it cannot be read to its end ({getattr(error, 'strerror', '') or error})"

    def _records(self, file: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                record = json.loads(line)
                kind = kind_of(record)
            except (ValueError, RecursionError):  # not JSON, or not UTF-8
                self._unreadable(number, line)
            except BadInput as error:
                self.notes.reject(number, str(error))
            else:
                self.notes.records += 1
                yield kind, record

    def _unreadable(self, number: int, line: bytes) -> None:
        if not line.endswith(b"\n") and line.startswith(b"{") and self.notes.records:
            self.notes.cut = True
        else:
            self.notes.reject(number, "it is not JSON")


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]
