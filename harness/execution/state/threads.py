"""Threads of a user that still run: what they change later cannot be put back, so their process takes no other layer."""

import sys
import threading
from pathlib import Path
from types import FrameType

from harness.base.source import is_library

_INSTALLED = ("site-packages", "dist-packages")


def users_threads(package: str = "") -> int:
    """How many other threads are in a user's code now.

    A thread that waits in a pool, or that serves an installed package (the monitor of a progress bar), is not: it changes
    nothing. ``package`` is the user's own, which may be installed as well.
    """
    frames = [frame for thread, frame in sys._current_frames().items() if thread != threading.get_ident()]
    return sum(_is_users(frame, package) for frame in frames)


def _is_users(frame: FrameType | None, package: str) -> bool:
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_library(file) and _installed_package(file) in ("", package):
            return True
        frame = frame.f_back
    return False


def _installed_package(file: str) -> str:
    """The name of the installed package that a file belongs to; empty for a file of a checkout."""
    parts = Path(file).parts
    places = [place for place, part in enumerate(parts[:-1]) if part in _INSTALLED]
    return parts[places[-1] + 1].removesuffix(".py") if places else ""
