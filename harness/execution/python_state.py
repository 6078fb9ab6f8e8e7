"""Settings of Python itself that a layer must leave as they were: filters of warnings, handlers, limits, the working directory."""

import contextlib
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from harness.base.source import current_folder

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _set_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _set_handlers(before: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, before, strict=True):
        with contextlib.suppress(ValueError, TypeError):  # another thread, or a handler that C installed
            signal.signal(number, handler)


def _set_folder(before: str) -> None:
    if before:
        os.chdir(before)


# name: (function that reads it, function that restores it)
_STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "Python's warnings filters": (lambda: list(warnings.filters), _set_filters),
    "Python's garbage collector": (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    "Python's recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "sys.excepthook": (lambda: sys.excepthook, lambda hook: setattr(sys, "excepthook", hook)),
    "the handlers of signals": (lambda: [signal.getsignal(number) for number in _SIGNALS], _set_handlers),
    "the working directory": (current_folder, _set_folder),
}


class PythonState:
    """The settings as they are now. ``restore`` puts them back and names what had changed."""

    def __init__(self) -> None:
        self._before = {name: read() for name, (read, _) in _STATE.items()}

    def restore(self) -> tuple[str, ...]:
        """Put everything back; returns what had changed."""
        changed = tuple(name for name, (read, _) in _STATE.items() if read() != self._before[name])
        for name in changed:
            _STATE[name][1](self._before[name])
        return changed
