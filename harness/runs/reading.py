"""Reading records: one line at a time, so that a million of them need no memory. What cannot be read is left out and named."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.base.errors import BadInput

# In bytes. The longest real line is the first of a run, which lists ten thousand tasks in a megabyte.
_LONGEST_LINE = 64_000_000


@dataclass(slots=True)
class RecordsFile:
    """The lines of one file. ``notes`` says afterwards what was left out, in a line or two.

    ``cut``: the last line is half a line. ``unended``: the last line is whole, and its newline is missing.
    """

    path: Path
    _bad: list[tuple[int, str]] = field(default_factory=list)
    cut: bool = False
    unended: bool = False

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
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            data = parsed(line)
            self.unended = data is not None and not line.endswith(b"\n")
            if data is not None:
                yield data
            elif not line.endswith(b"\n"):
                self.cut = True
            elif line.strip():
                self.reject(number, "it is no JSON object")

    def reject(self, number: int, why: str) -> None:
        """Note that a line was left out; ``number`` 0 where it is not known."""
        self._bad.append((number, why)) if len(self._bad) < 2 else self._bad.append((0, ""))

    @property
    def notes(self) -> list[str]:
        """What was left out."""
        lines = []
        if self._bad:
            number, why = self._bad[0]
            more = f", and {len(self._bad) - 1} more" if len(self._bad) > 1 else ""
            at = f"line {number}" if number else "a line"
            lines.append(f"{self.path}: {at}{more} left out: {why}")
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
