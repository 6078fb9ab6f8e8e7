"""The processes that a worker started and left: found by its session and by its mark in their environment, and killed."""

import os
import signal
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_NANO = 1e-9


def kill_family(leader: int, mark: str) -> None:
    """Kill the process group that ``leader`` leads, and every process with ``mark`` (``NAME=value``) in its environment.

    A child of a subject may have left the group; it still has the environment that it was started with.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for process in _marked(mark.encode()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def waited_for_core(process: int) -> float:
    """Seconds that the process's main thread was ready to run while others had the core; 0 where the system does not say."""
    try:
        return int((_PROC / str(process) / "schedstat").read_text().split()[1]) * _NANO
    except (OSError, ValueError, IndexError):
        return 0.0


def _marked(mark: bytes) -> list[int]:
    """The processes that were started with this in their environment."""
    found = []
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or belongs to another user
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
