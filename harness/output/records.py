"""Records: the JSON lines that ``--json FILE`` asks for, each written as soon as it is known."""

import json
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from harness.base.errors import BadInput


class Records:
    """The file of a run's records, as a context; without a path nothing is written.

    What the file held is given up at the first record and not before: a run that never began must not cost the records
    of the last one. Raises BadInput where the file cannot be written; the records before are then complete.
    """

    def __init__(self, path: str | None) -> None:
        self._path, self._begun = path, False
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = open(self._path, "a", buffering=1, encoding="utf-8")
            except OSError as error:
                what = f"cannot write --json {self._path}: {error.strerror}; give a path in a folder that exists"
                raise BadInput(what) from None
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # a full disk, which the write before has told
            if self._file is not None:
                self._file.close()

    def write(self, record: dict[str, Any]) -> None:
        """Add a record."""
        if self._file is None or self._path is None:
            return
        try:
            if not self._begun and Path(self._path).is_file():
                self._file.truncate(0)
            self._begun = True
            self._file.write(json.dumps(record) + "\n")
        except OSError as error:
            what = f"cannot write on to --json {self._path}: {error.strerror}; the records before are complete"
            raise BadInput(what) from None
