"""The processes that a worker started and left: found by its group, by descent, by a mark and by a file, and killed."""

import os
import signal
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_NANO = 1e-9


def kill_family(leader: int, mark: str, errors: int) -> None:
    """Kill the process group that ``leader`` leads, and each process that it started.

    A child of a subject may have left the group. It still has its parent, or ``mark`` (``NAME=value``) in its environment, or
    writes to the file of ``leader``'s standard error, which has the descriptor ``errors`` here. A worker adopts the children
    of a child that ended (``harness.workers.worker``).
    """
    family = {*_descendants(leader), *_marked(mark.encode()), *_writers(os.fstat(errors))}
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for process in family - {os.getpid()}:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def waited_for_core(process: int) -> float:
    """Seconds that the process's main thread was ready to run while others had the core; 0 where the system does not say."""
    try:
        return int((_PROC / str(process) / "schedstat").read_text().split()[1]) * _NANO
    except (OSError, ValueError, IndexError):
        return 0.0


def is_halted(process: int) -> bool:
    """Whether a signal such as SIGSTOP halted the process, and none let it go on."""
    try:
        return _stat(process)[0] == "T"
    except (OSError, IndexError):
        return False


def _stat(process: int) -> list[str]:
    """The fields of a process after its name, which is in brackets and may hold anything: state, parent, and so on."""
    return (_PROC / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()


def _marked(mark: bytes) -> list[int]:
    """The processes that were started with this in their environment."""
    found = []
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or belongs to another user
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _writers(file: os.stat_result) -> list[int]:
    """The processes whose standard output or standard error is this file."""
    found = []
    for descriptor in (*_PROC.glob("[0-9]*/fd/1"), *_PROC.glob("[0-9]*/fd/2")):
        with suppress(OSError):
            if os.path.samestat(descriptor.stat(), file):
                found.append(int(descriptor.parts[2]))
    return found


def _descendants(leader: int) -> list[int]:
    """The processes that descend from this one, the nearest first; none once it ended."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found = list(children.get(leader, ()))
    for process in found:  # which grows meanwhile
        found += children.get(process, ())
    return found
