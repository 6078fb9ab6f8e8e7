"""Threads of a user that still run: what they change later cannot be put back, so their process takes no other layer."""

import sys
import threading
from types import FrameType

from harness.base.source import is_library


def users_threads() -> int:
    """How many other threads are in a user's code now. One that waits in a pool of threads is in a library's alone."""
    frames = [frame for thread, frame in sys._current_frames().items() if thread != threading.get_ident()]
    return sum(_is_users(frame) for frame in frames)


def _is_users(frame: FrameType | None) -> bool:
    while frame is not None:
        if not is_library(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False
