"""Ctrl-C, SIGTERM and SIGHUP: workers are killed, what was judged so far is shown, and the exit code is the signal's."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

# The handlers that a process has where nobody set one. A shell starts some programs with a signal ignored: so it stays.
_DEFAULTS: dict[signal.Signals, Callable[..., Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
# A terminal that closes, and a scheduler, send several signals at once. The first one ends the run, and the others must not
# end the killing of workers. Where that takes longer than this, the next signal counts again.
_CLEANING_SECONDS = 5.0


class Interruption:
    """Inside a ``with`` block these signals raise KeyboardInterrupt. Python allows that in the main thread only.

    ``code`` is the exit code of the first signal, which shells show as 128 and its number; 0 where none came.
    ``ends`` says that the process ends with the block: after a first signal, later ones do not change its exit code.
    """

    def __init__(self, ends: bool = False) -> None:
        self.code, self._last, self._ends = 0, 0.0, ends
        self._handled: list[signal.Signals] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handled = [number for number, default in _DEFAULTS.items() if signal.getsignal(number) is default]
        for number in self._handled:
            signal.signal(number, self._end)
        return self

    def __exit__(self, *error: object) -> None:
        is_over = self._ends and self.code
        for number in self._handled:
            signal.signal(number, signal.SIG_IGN if is_over else _DEFAULTS[number])

    def _end(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.code and now - self._last < _CLEANING_SECONDS:
            return
        self.code, self._last = self.code or 128 + number, now
        raise KeyboardInterrupt(signal.strsignal(number))
