"""A process that has imported an engine, and forks the workers that need it: the import takes longer than a run of few cases."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import IO, Any

from harness.workers.forking import forked, may_fork
from harness.workers.importing import importing
from harness.workers.process import Job, WorkerProcess

START = "harness.workers.nursery:start"
_SECONDS = 0.01  # between two looks at a process that is about to end
_KILLED = -9


def start(settings: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """In a worker: import the engine. A task is to fork a worker, or to say how one ended."""
    able = import_engine(settings, settings["imports"])
    given = socket.socket(fileno=settings["socket"])

    def answer(task: dict[str, Any]) -> dict[str, Any]:
        if "ended" in task:
            pid, status = os.waitpid(task["ended"], os.WNOHANG)
            return {"code": os.waitstatus_to_exitcode(status) if pid else None}
        _, files, _, _ = socket.recv_fds(given, 1, 3)
        try:
            return {"pid": _forked(files, task["fork"]) if able else 0}
        finally:
            for file in files:
                os.close(file)

    return answer


def import_engine(settings: dict[str, Any], imports: str) -> bool:
    """Import what workers need; ``imports`` names the function that does so and starts nothing of it.

    Whether this process may be forked then. Raises BadInput.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads of its own
    import_module("torch").set_num_threads(settings["threads"])
    module, _, name = imports.partition(":")
    with importing(f"subject {settings['subject']!r}"):
        getattr(import_module(module), name)()
    return may_fork()


def _forked(files: list[int], mark: dict[str, str]) -> int:
    """The process of a worker whose standard streams are these files, a session of its own."""
    serve = forked(mark)
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
        serve()
    finally:
        os._exit(1)


class Nursery:
    """The parent's side: starts the process, and asks it for workers from any thread. It ends with the thread that made it."""

    def __init__(self, job: Job) -> None:
        """Raises BadInput where the engine cannot be imported."""
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            settings = job.settings | {"imports": job.imports, "socket": theirs.fileno()}
            self._process = WorkerProcess(replace(job, start=START, settings=settings), keep=theirs.fileno())
        try:
            self._process.wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def worker(self, job: Job) -> WorkerProcess:
        """A worker for a job: a fork of the process, or one that imports the engine itself where that cannot be."""
        return WorkerProcess(job, made=self._fork)

    def _fork(self, mark: dict[str, str], errors: int) -> "Fork | None":
        """A fork with standard error in the file ``errors``; None where there can be none."""
        (task, tasks), (answers, answer) = os.pipe(), os.pipe()
        with self._lock:
            with contextlib.suppress(OSError):
                socket.send_fds(self._socket, [b"."], [task, answer, errors])
            made = self._process.ask({"fork": mark}) or {"pid": 0}
        for file in (task, answer):
            os.close(file)
        if made["pid"]:
            return Fork(made["pid"], os.fdopen(tasks, "wb", 0), os.fdopen(answers, "rb", 0), self)
        for file in (tasks, answers):
            os.close(file)
        return None

    def code(self, pid: int) -> int | None:
        """The exit code of a fork, as subprocess has it; None while it runs."""
        with self._lock:
            told = self._process.ask({"ended": pid})
        return told["code"] if told else _KILLED

    def kill(self) -> None:
        """Kill the process, and so each of its forks."""
        self._process.kill()
        self._socket.close()


class Fork:
    """A fork of a nursery, with what a worker needs of ``subprocess.Popen``."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], nursery: Nursery) -> None:
        self.pid, self.stdin, self.stdout, self._nursery = pid, stdin, stdout, nursery
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.code(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it ended. Raises subprocess.TimeoutExpired."""
        end = time.monotonic() + timeout if timeout is not None else None
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("fork", timeout or 0)
            time.sleep(_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


@contextmanager
def nursery_of(job: Job) -> Iterator[Nursery | None]:
    """The nursery of a job inside a ``with`` block; None for a job that names no import. Raises BadInput."""
    if not job.imports:
        yield None
        return
    nursery = Nursery(job)
    try:
        yield nursery
    finally:
        nursery.kill()
