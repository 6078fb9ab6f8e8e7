"""The worker: a child process that does tasks. It reads one task per line and writes one answer per line, as JSON.

The job says what a task is; ``harness.workers.plan:start`` judges cases. A worker needs torch, the harness and what the job
imports, and nothing else, so it also runs inside an engine's environment.
"""

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from queue import SimpleQueue
from typing import IO, Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_answers: IO[str] | None = None
_seconds = 0.0  # the limit for one task, as the job says


def main() -> int:
    """Do the tasks on standard input until it ends. What a subject prints goes to standard error, not between the answers."""
    global _answers
    end_with_parent()
    # Only the parent may interrupt a worker, and it kills. A KeyboardInterrupt is therefore always the subject's own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # On the level of file descriptors, since C code and child processes of a subject may read and print too.
    tasks = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    _answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.register_at_fork(after_in_child=_let_go)
    with contextlib.suppress(BrokenPipeError):
        _serve(_lines(tasks), _answers)
    return 0


def _let_go() -> None:
    """In a child that a subject forked: do not hold the pipe, or the parent would wait for it. Its own children have none."""
    global _answers
    answers, _answers = _answers, None
    if answers is not None:
        os.close(answers.fileno())


def begin(seconds: float = 0.0, doing: str = "") -> None:
    """Tell the parent that work begins now, with a limit of its own; 0 stands for the job's. Outside a worker: nothing.

    ``doing`` is what a worker does that is not ready yet.
    """
    if _answers is not None:
        _answers.write(json.dumps({"begin": seconds, "doing": doing}) + "\n")


def task_seconds() -> float:
    """The limit for one task, as the job says; 0 outside a worker."""
    return _seconds


def note(what: dict[str, Any]) -> None:
    """Tell the parent what the task is about to do. Outside a worker: nothing."""
    if _answers is not None:
        _answers.write(json.dumps({"note": what}) + "\n")


def end_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends. Elsewhere the end of the pipe must do.

    It also adopts the children of a child that ended, so that the parent finds and kills them.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _lines(tasks: IO[str]) -> Iterator[str]:
    """The lines as they come. At their end, which is the end of the parent, the worker and its children are killed."""
    queue: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in tasks:
            queue.put(line)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield queue.get()


def _serve(tasks: Iterator[str], answers: IO[str]) -> None:
    global _seconds
    from harness.base.errors import BadInput
    from harness.base.printable import bounded_json

    worker, job = os.getpid(), json.loads(next(tasks))
    _seconds = job.get("seconds", 0.0)
    _set_fault_handler()
    try:
        answer = _started(job["start"], job["settings"])
    except BadInput as error:
        answers.write(json.dumps({"bad_input": str(error)}) + "\n")
        return
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in tasks:
        _set_fault_handler()
        begin()  # a worker that was slow to read the task has not worked on it yet
        try:
            result = answer(json.loads(line))
        except BadInput as error:  # a task shows what the start could not see: the run ends with it
            result = {"bad_input": str(error)}
        if os.getpid() != worker:  # a child that the subject forked came back from its call
            os._exit(0)
        answers.write(json.dumps(bounded_json(result)) + "\n")


def _set_fault_handler() -> None:
    """Before each task, since a layer may have changed it: say where a task hangs when the parent asks, and end nothing."""
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=False)  # whatever sys.stderr is
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    faulthandler.cancel_dump_traceback_later()


def _started(start: str, settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """Call ``module:function`` with the settings. It returns a function from a task to its answer."""
    module, _, name = start.partition(":")
    from harness.base.loading import without_collections

    with without_collections():  # the import of torch makes a million objects
        function: Callable[[Any], dict[str, Any]] = getattr(import_module(module), name)(settings)
    return function


if __name__ == "__main__":
    sys.exit(main())
