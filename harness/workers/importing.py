"""The limit on importing a module that a user named. A hang is told within it; a large package that goes on has its time."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from harness.workers.worker import begin, task_seconds

# How often the parent is told, at most, that the import goes on.
_SECONDS = 0.2


@contextmanager
def importing(what: str) -> Iterator[None]:
    """In a worker, inside a ``with`` block: the limit of a task begins anew with each module whose import begins."""
    progress = _Progress(what)
    sys.meta_path.insert(0, progress)
    progress.say()
    try:
        yield
    finally:
        with suppress(ValueError):  # a user's module may have emptied the list
            sys.meta_path.remove(progress)
        begin()


class _Progress:
    """A finder that finds nothing, and tells the parent that Python looks for one more module."""

    def __init__(self, what: str) -> None:
        self._what, self._last = what, time.monotonic()

    def say(self) -> None:
        """Begin the limit anew."""
        self._last = time.monotonic()
        begin(task_seconds(), f"importing {self._what}")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Nothing: the other finders are asked next."""
        if threading.current_thread() is threading.main_thread() and time.monotonic() - self._last > _SECONDS:
            self.say()
