"""Records: the JSON lines of ``--json FILE``, each written as soon as it is known."""

import json
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from harness.base.errors import BadInput


class Records:
    """The file of a run's records, a context manager. Without a path nothing is written.

    The first record replaces the previous content of the file. A run that fails before that leaves the records of the last
    run alone. Raises BadInput if the file cannot be written; the records before that are complete.
    """

    def __init__(self, path: str | None) -> None:
        self._path, self._started = path, False
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
        with suppress(OSError):  # a full disk, which write() has already reported
            if self._file is not None:
                self._file.close()

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        if self._file is None or self._path is None:
            return
        try:
            if not self._started and Path(self._path).is_file():
                self._file.truncate(0)
            self._started = True
            self._file.write(json.dumps(record) + "\n")
        except OSError as error:
            what = f"cannot append to --json {self._path}: {error.strerror}; the records before are complete"
            raise BadInput(what) from None
