"""A worker that this worker forks once it has imported an engine, which takes longer than a run of few cases."""

import gc
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from harness.workers.worker import main

_TASKS = Path("/proc/self/task")
# The main thread, and the one that reads the tasks (harness.workers.worker). That one holds nothing that a fork needs.
_OWN_THREADS = 2
# Each file that a fork must not hold: the pipes of the process that forked it, and the one by which subprocess awaits an exec.
_FIRST_FILE, _MOST_FILES = 3, 2**20


def may_fork() -> bool:
    """Whether a fork of this process is safe: no thread but a worker's own, none that C code started, no CUDA context."""
    torch = sys.modules.get("torch")
    if torch is None or torch.cuda.is_initialized() or threading.active_count() > _OWN_THREADS:
        return False
    try:
        return len([*_TASKS.iterdir()]) == threading.active_count()
    except OSError:  # this system does not say it
        return False


def forked(environment: dict[str, str]) -> Callable[[], None]:
    """A ``preexec_fn`` of ``subprocess.Popen`` that runs the worker in the fork, and executes nothing."""
    gc.freeze()  # the collector would write to each object, and so copy what the processes share

    def serve() -> None:
        code = 1
        try:
            os.environ.update(environment)
            os.closerange(_FIRST_FILE, _MOST_FILES)
            code = main()
        except SystemExit as end:
            code = _exit_code(end)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    return serve


def _exit_code(end: SystemExit) -> int:
    """The exit code as Python has it, which prints what is no number."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr, flush=True)
    return 1
