"""Records: the JSON lines of ``--json FILE``, each written as soon as it is known."""

import errno
import fcntl
import json
import os
import stat
import sys
from contextlib import suppress
from typing import IO, Any, Self

from harness.base.errors import BadInput

STANDARD_OUTPUT = "-"
_HINTS = {errno.ENXIO: "it is a FIFO that no process reads", errno.EWOULDBLOCK: "another run is writing to it"}


class Records:
    """The file of a run's records, a context manager. Without a path nothing is written; ``-`` is standard output.

    The first record replaces the previous content of the file, unless ``resume``. A run that fails before that leaves the
    records of the last run alone. Raises BadInput if the file cannot be written, or another run writes to it; the records
    before that are complete.
    """

    def __init__(self, path: str | None, resume: bool = False) -> None:
        self._path, self._started = path, resume
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = _opened(self._path)
            except (OSError, ValueError) as error:
                raise BadInput(f"cannot write --json {self._path}: {_reason(error)}") from None
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # a full disk, which write() has already reported
            if self._file is not None:
                self._file.close()

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        if self._file is None:
            return
        try:
            if not self._started and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.truncate(0)
            self._started = True
            self._file.write(json.dumps(record) + "\n")
        except OSError as error:
            what = f"cannot append to --json {self._path}: {error.strerror}; the records before are complete"
            raise BadInput(what) from None


def _opened(path: str) -> IO[str]:
    """The file, open to append and locked against another run. Raises OSError and ValueError."""
    if path == STANDARD_OUTPUT:
        sys.stdout.flush()
        return os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    # Opening a FIFO without a reader would wait for one.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        os.set_blocking(descriptor, True)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "a", buffering=1, encoding="utf-8")


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return _HINTS.get(error.errno or 0) or f"{error.strerror}; give a path in a folder that exists"
