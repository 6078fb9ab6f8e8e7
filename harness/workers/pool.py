"""The pool: workers that do tasks side by side. A worker that dies is replaced, and the task it died over is reported."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from harness.base.errors import BadInput
from harness.workers.process import Job, WorkerProcess

# In an answer: the worker can do no more tasks, and is replaced.
LAST = "last"
# A worker holds about 1 GB of torch and weights.
_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Reply:
    """A task with its answer; None, and how the worker ended in words, where it died or was stopped over it."""

    task: Any
    answer: dict[str, Any] | None
    died: str = ""


class Pool:
    """Does the tasks of a job. The tasks of a group go to one worker, in order: they share what it keeps in memory.

    ``same`` says what tasks have in common: once a worker died over one, those left of its group with the same answer
    are not tried.
    """

    def __init__(
        self,
        job: Job,
        groups: Sequence[Sequence[Any]],
        workers: int,
        same: Callable[[Any], object] = lambda task: object(),
    ) -> None:
        self._job, self._same = job, same
        self._groups = deque(deque(group) for group in groups)
        self._running = max(1, min(workers, len(groups)))
        self._replies: Queue[Reply | BaseException | None] = Queue()
        self._workers: list[WorkerProcess] = []
        self._closed = False

    def __iter__(self) -> Iterator[Reply]:
        """The replies as they come. Raises BadInput if a worker cannot start."""
        for _ in range(self._running):
            threading.Thread(target=self._run, daemon=True).start()
        try:
            while self._running:
                reply = self._replies.get()
                if isinstance(reply, BaseException):
                    raise reply
                if reply is None:
                    self._running -= 1
                else:
                    yield reply
        finally:
            self.close()

    def close(self) -> None:
        """Stop every worker at once."""
        self._closed = True
        for worker in self._workers:
            worker.kill()

    def _run(self) -> None:
        """One thread's life: take a group of tasks, have its worker do them, take the next."""
        group: deque[Any] = deque()
        worker: WorkerProcess | None = None
        try:
            while not self._closed and (group := group or self._next_group()):
                worker = worker or self._start()
                task = group.popleft()
                answer = worker.ask(task)
                last = bool(answer and answer.pop(LAST, False))
                reply = Reply(task, answer, "" if answer else worker.last_words())
                self._replies.put(reply)
                if last:
                    worker.kill()
                    worker = None
                if not answer:
                    worker = None
                    self._leave_out(group, reply)
            self._replies.put(None)
        except Exception as error:
            self._replies.put(None if self._closed else error)

    def _leave_out(self, group: deque[Any], dead: Reply) -> None:
        """Answer the tasks left that would end as the one that a worker died over."""
        for task in [task for task in group if self._same(task) == self._same(dead.task)]:
            group.remove(task)
            self._replies.put(Reply(task, None, f"not tried after {dead.died}"))

    def _next_group(self) -> deque[Any]:
        try:
            return self._groups.popleft()
        except IndexError:  # another worker took the last one
            return deque()

    def _start(self) -> WorkerProcess:
        worker = WorkerProcess(self._job)
        self._workers.append(worker)  # before it is ready: whoever stops the pool must find it
        worker.greet()
        return worker


def workers_for(asked: int, one: bool = False) -> int:
    """How many workers to run: as asked; else ``one``, as where they share a GPU, or one a core, at most 8. Raises BadInput."""
    if asked < 0:
        raise BadInput(f"--workers is {asked}; expected 1 or more, or 0 for one a core")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or (1 if one else min(cores, _MOST_WORKERS))


def has_cuda() -> bool:
    """Whether cases run on a GPU by default. A look for the driver's device files, since torch costs a second."""
    return any(Path("/dev").glob("nvidia[0-9]*")) and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def runs_on_cuda(device: str) -> bool:
    """Whether cases run on a GPU where this device was asked for: ``auto``, ``cpu`` or ``cuda``."""
    return device == "cuda" or (device == "auto" and has_cuda())
