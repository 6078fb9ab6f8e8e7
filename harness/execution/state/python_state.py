"""State of Python and of the process that a layer must leave as it was, so that no verdict depends on the one before it.

What a library may change by right when it is first used, such as the import path, is put back and not reported.
"""

import builtins
import contextlib
import faulthandler
import gc
import locale
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from harness.base.source import current_folder
from harness.execution.state.module_state import ModuleState

with contextlib.suppress(ImportError):  # not on Windows
    import resource

_NAMES = ("INT", "TERM", "HUP", "QUIT", "ALRM", "VTALRM", "PROF", "CHLD", "PIPE", "USR1", "USR2", "XCPU", "XFSZ")
_SIGNALS = [getattr(signal, f"SIG{name}") for name in _NAMES if hasattr(signal, f"SIG{name}")]
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF) if hasattr(signal, "ITIMER_REAL") else ()
_LIMITS = (
    [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")] if "resource" in globals() else []
)
_HOOKS = [(sys, "excepthook"), (sys, "unraisablehook"), (sys, "displayhook"), (threading, "excepthook")]
_STREAMS = [(sys, "stdin"), (sys, "stdout"), (sys, "stderr")]


@cache
def first_variables() -> frozenset[str]:
    """The names of the environment's variables that a process began with, read once, before its first layer."""
    return frozenset(os.environ)


def _attributes(places: list[tuple[Any, str]]) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    """What reads some attributes and what restores them. They are compared by identity."""

    def restore(before: list["_Same"]) -> None:
        for (owner, name), value in zip(places, before, strict=True):
            setattr(owner, name, value.value)

    return lambda: [_Same(getattr(owner, name)) for owner, name in places], restore


class _Same:
    """A value that equals itself alone, whatever its own ``==`` says."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]


class _Timer:
    """When a running timer that ends in a signal fires. Half a second counts as equal."""

    def __init__(self, left: float, interval: float) -> None:
        self.end, self.interval = time.monotonic() + left, interval

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Timer) and abs(self.end - other.end) < 0.5

    __hash__ = None  # type: ignore[assignment]


def _timers() -> list[_Timer | None]:
    read = [signal.getitimer(timer) for timer in _TIMERS]
    return [_Timer(*one) if one[0] else None for one in read]


def _set_timers(before: list[_Timer | None]) -> None:
    for timer, was in zip(_TIMERS, before, strict=True):
        signal.setitimer(timer, max(was.end - time.monotonic(), 1e-3) if was else 0.0, was.interval if was else 0.0)


def _set_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _handlers() -> list[_Same]:
    return [_Same(signal.getsignal(number)) for number in _SIGNALS]


def _set_handlers(before: list[_Same]) -> None:
    for number, handler in zip(_SIGNALS, before, strict=True):
        if signal.getsignal(number) is not handler.value:
            with contextlib.suppress(ValueError, TypeError):  # another thread, or a handler that C installed
                signal.signal(number, handler.value)


def _set_folder(before: str) -> None:
    if before:
        os.chdir(before)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _logging() -> tuple[int, int]:
    """The root logger's level, and the level at which all loggers are silent. Handlers are added by the first message."""
    return logging.root.level, logging.root.manager.disable


def _set_logging(before: tuple[int, int]) -> None:
    logging.root.setLevel(before[0])
    logging.disable(before[1])


def _start_method() -> str:
    """How Python starts processes; its default where nobody asked, as the first use of it sets that."""
    return multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _set_cores(before: set[int]) -> None:
    with contextlib.suppress(OSError):  # a core that went offline
        os.sched_setaffinity(0, before)


def _set_fault_handler(on: bool) -> None:
    if not on:
        faulthandler.disable()
        return
    with contextlib.suppress(RuntimeError, ValueError, OSError):  # a standard error without a file
        faulthandler.enable(sys.__stderr__ or 2)  # which file it wrote to before, Python does not say


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(limit) for limit in _LIMITS]


def _set_limits(before: list[tuple[int, int]]) -> None:
    for limit, was in zip(_LIMITS, before, strict=True):
        if resource.getrlimit(limit) != was:
            with contextlib.suppress(ValueError, OSError):  # a hard limit that was lowered stays so
                resource.setrlimit(limit, was)


def _builtins() -> dict[str, Any]:
    return {name: value for name, value in vars(builtins).items() if name != "_"}  # an interactive Python sets it


def _set_builtins(before: dict[str, Any]) -> None:
    vars(builtins).update(before)


def _lists() -> tuple[list[Any], ...]:
    return sys.path, sys.meta_path, sys.path_hooks, sys.argv, sys.warnoptions


def _set_lists(before: list[list[Any]]) -> None:
    """Put back what is no longer there. What was added stays: imports add to these by right."""
    for now, was in zip(_lists(), before, strict=True):
        if any(one not in now for one in was):
            now[:] = [*was, *(one for one in now if one not in was)]


# name: (function that reads it, function that restores it)
_STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "Python's warnings filters": (lambda: list(warnings.filters), _set_filters),
    "Python's garbage collector": (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    "Python's recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "Python's switch interval of threads": (sys.getswitchinterval, sys.setswitchinterval),
    "Python's built-in functions": (_builtins, _set_builtins),
    "Python's trace function": (lambda: _Same(sys.gettrace()), lambda before: sys.settrace(before.value)),
    "Python's profile function": (lambda: _Same(sys.getprofile()), lambda before: sys.setprofile(before.value)),
    "sys.excepthook": _attributes(_HOOKS[:1]),
    "Python's other hooks": _attributes(_HOOKS[1:]),
    "Python's standard streams": _attributes(_STREAMS),
    "the timers of signals": (_timers, _set_timers),  # before their handlers
    "the handlers of signals": (_handlers, _set_handlers),
    "the working directory": (current_folder, _set_folder),
    "the umask": (_umask, os.umask),
    "the process's resource limits": (_limits, _set_limits),
    "the locale": (lambda: locale.setlocale(locale.LC_ALL), lambda before: locale.setlocale(locale.LC_ALL, before)),
    "the levels of Python's logging": (_logging, _set_logging),
    "how Python starts processes": (_start_method, lambda one: multiprocessing.set_start_method(one, force=True)),
    "the cores that the process runs on": (_cores, _set_cores),
    "the default timeout of sockets": (socket.getdefaulttimeout, socket.setdefaulttimeout),
}
# Libraries change these when they are first used. They are put back without a word.
_SILENT: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "thresholds of the garbage collector": (gc.get_threshold, lambda before: gc.set_threshold(*before)),
    "Python's fault handler": (faulthandler.is_enabled, _set_fault_handler),
    "debugging of the garbage collector": (gc.get_debug, gc.set_debug),
    "lists of the import system": (lambda: [list(one) for one in _lists()], _set_lists),
    "the folder of temporary files": _attributes([(tempfile, "tempdir"), (warnings, "showwarning")]),
}


class PythonState:
    """The settings as they are now. ``restore`` puts them back and names what had changed."""

    def __init__(self) -> None:
        self._modules = ModuleState()
        self._before = {name: read() for name, (read, _) in (_STATE | _SILENT).items()}

    def restore(self) -> tuple[str, ...]:
        """Put everything back; returns what had changed, without what libraries change by right."""
        replaced = self._modules.restore()  # before what is read and set by some of them
        changed = tuple(name for name, (read, _) in (_STATE | _SILENT).items() if read() != self._before[name])
        for name in changed:
            (_STATE | _SILENT)[name][1](self._before[name])
        return (*(name for name in changed if name in _STATE), *replaced)
