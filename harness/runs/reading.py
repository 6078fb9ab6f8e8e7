"""Reading records: one line at a time, so that a million of them need no memory. What cannot be read is left out and named."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput

# In bytes. The longest real line is the first of a run, which lists ten thousand tasks in a megabyte.
_LONGEST_LINE = 64_000_000


@dataclass(slots=True)
class RecordsFile:
    """The lines of one file. ``notes`` says afterwards what was left out, in a line or two.

    ``cut``: the last line is half a line. ``unended``: the last line is whole, and its newline is missing.
    ``number`` is that of the line that was read last.
    """

    path: Path
    _first: str = ""
    _rejected: int = 0
    cut: bool = False
    unended: bool = False
    number: int = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The lines that are JSON objects. Raises BadInput if the file cannot be read."""
        try:
            if self.path.exists() and not self.path.is_file():
                raise BadInput(f"cannot read {self.path}: it is no regular file; expected a file of `--json`")
            with self.path.open("rb") as file:
                yield from self._lines(file)
        except OSError as error:
            raise BadInput(f"cannot read {self.path}: {error.strerror}; expected a file of `--json`") from None

    def _lines(self, file: Any) -> Iterator[dict[str, Any]]:
        while line := file.readline(_LONGEST_LINE):
            self.number += 1
            data = parsed(line)
            self.unended = data is not None and not line.endswith(b"\n")
            if data is not None:
                yield data
            elif not line.endswith(b"\n") and line.startswith(b"{"):
                self.cut = True
            elif line.strip():
                self.reject("it is no JSON object")

    def reject(self, why: str) -> None:
        """Note that the line that was read last is left out."""
        self._rejected += 1
        self._first = self._first or f"line {self.number} is left out: {why}"

    @property
    def notes(self) -> list[str]:
        """What was left out."""
        lines = []
        if self._first:
            more = f" (and {self._rejected - 1} more lines)" if self._rejected > 1 else ""
            lines.append(f"{self.path}: {self._first}{more}")
        if self.cut:
            lines.append(f"{self.path}: the last line is cut off, as where a run is killed; it is left out")
        return lines


def parsed(line: bytes) -> dict[str, Any] | None:
    """The object in a line; None where there is none."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
