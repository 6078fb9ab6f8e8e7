"""What ends this process at once: code of a user that calls it would end a run half way, with the code of a success."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

_NAMES = ("_exit", "abort", "execv", "execve")  # the others of the exec family call these two
_CODE = 2  # of a process that another thread ends


@contextlib.contextmanager
def exits_raise() -> Iterator[None]:
    """Inside a ``with`` block ``os._exit``, ``os.abort`` and the ``os.exec`` family raise SystemExit, which names the call.

    A child that was forked ends as it wants to. What another thread ends is said on standard error, and the exit code is 2.
    """
    before = {name: getattr(os, name) for name in _NAMES if hasattr(os, name)}
    block = _Block()
    for name, real in before.items():
        setattr(os, name, block.refusing(name, real))
    try:
        yield
    finally:
        block.active = False
        for name, real in before.items():
            setattr(os, name, real)


class _Block:
    """One ``with`` block. A function that the user's code took from ``os`` inside it works as usual after it."""

    def __init__(self) -> None:
        self.active, self._process, self._thread = True, os.getpid(), threading.get_ident()

    def refusing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def refused(*arguments: Any) -> Any:
            if not self.active or os.getpid() != self._process:
                return real(*arguments)
            call = f"os.{name}({', '.join(map(repr, arguments[:1]))})"
            return self._refuse(call)

        return refused

    def _refuse(self, call: str) -> NoReturn:
        if threading.get_ident() == self._thread:
            raise SystemExit(f"{call}, which ends the process at once")
        os.write(2, f"harness: another thread called {call}\n".encode(errors="replace"))
        _really_exit(_CODE)


_really_exit = os._exit
