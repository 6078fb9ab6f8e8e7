"""The pool: workers that do tasks in parallel. A worker that dies is replaced, and the task that killed it is reported."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from harness.base.cache import require_writable
from harness.base.errors import BadInput
from harness.workers.alone import Alone
from harness.workers.open_files import require_open_files
from harness.workers.process import Job, WorkerProcess

# A key in an answer: the worker can do no more tasks and must be replaced.
LAST = "last"
# A worker needs about 1 GB for torch and weights.
_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Reply:
    """A task and its answer. If the worker died or was stopped, the answer is None and ``died`` says how it ended."""

    task: Any
    answer: dict[str, Any] | None
    died: str = ""


class Pool:
    """Does the tasks of a job. One worker does all tasks of a group, in order, so that they share its caches.

    ``same`` maps a task to what would kill a worker in the same way. Once a task killed its worker, the remaining tasks of
    the group with an equal value are not tried. ``alone`` says which answers a new worker gives once more. ``new`` makes a worker.
    """

    def __init__(
        self,
        job: Job,
        groups: Sequence[Sequence[Any]],
        workers: int,
        same: Callable[[Any], object] = lambda task: object(),
        alone: Alone | None = None,
        new: Callable[[Job], WorkerProcess] = WorkerProcess,
    ) -> None:
        self._job, self._same, self._alone, self._new = job, same, alone, new
        self._groups = deque(deque(group) for group in groups)
        self._running = max(1, min(workers, len(groups)))
        self._replies: Queue[Reply | BaseException | None] = Queue()
        self._workers: list[WorkerProcess] = []
        self._closed = False

    def __iter__(self) -> Iterator[Reply]:
        """The replies in the order in which they come. Raises BadInput if a worker cannot start."""
        if not self._groups:
            return
        require_open_files()
        require_writable()
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
        """The loop of one thread: take a group of tasks, let its worker do them, take the next group."""
        group: deque[Any] = deque()
        worker: WorkerProcess | None = None
        is_new = False
        try:
            while not self._closed and (group := group or self._next_group()):
                worker, is_new = worker or self._start(), worker is None
                task = group.popleft()
                answer = worker.ask(task)
                if answer and not is_new and not answer.get(LAST):
                    worker, answer = self._ask_alone(worker, task, answer)
                last = bool(answer and answer.pop(LAST, False))
                reply = Reply(task, answer, worker.exit_reason() if worker and not answer else "")
                self._replies.put(reply)
                if last and worker:
                    worker.kill()
                    worker = None
                if not answer:
                    worker = None
                    self._skip_same(group, reply)
            self._replies.put(None)
        except Exception as error:
            self._replies.put(None if self._closed else error)

    def _ask_alone(
        self, worker: WorkerProcess, task: Any, answer: dict[str, Any]
    ) -> tuple[WorkerProcess | None, dict[str, Any]]:
        """The worker to go on with, and the answer: a new one's, where that of a worker which did others before is doubtful."""
        if self._alone is None:
            return worker, answer
        if not self._alone.doubts(answer):
            return worker, self._alone.qualified(answer)
        worker.kill()
        new = self._start()
        again = new.ask(task)
        return new if again else None, self._alone.settle(answer, again)

    def _skip_same(self, group: deque[Any], dead: Reply) -> None:
        """Reply to the remaining tasks that would kill a worker in the same way."""
        for task in [task for task in group if self._same(task) == self._same(dead.task)]:
            group.remove(task)
            self._replies.put(Reply(task, None, f"not tried after {dead.died}"))

    def _next_group(self) -> deque[Any]:
        try:
            return self._groups.popleft()
        except IndexError:  # another thread took the last group
            return deque()

    def _start(self) -> WorkerProcess:
        worker = self._new(self._job)
        self._workers.append(worker)  # before it is ready, so that close() also kills a worker that is starting
        worker.wait_until_ready()
        return worker


def workers_for(asked: int, one: bool = False) -> int:
    """How many workers to run: ``asked`` if not 0, else 1 if ``one`` (they share a GPU), else one per core, at most 8."""
    if asked < 0:
        raise BadInput(f"--workers is {asked}; expected 1 or more, or 0 for the default")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or (1 if one else min(cores, _MOST_WORKERS))


def has_cuda() -> bool:
    """Whether cases run on a GPU by default. Looks for the driver's device files, since importing torch takes a second."""
    return any(Path("/dev").glob("nvidia[0-9]*")) and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def runs_on_cuda(device: str) -> bool:
    """Whether cases run on a GPU for this ``--device``: ``auto``, ``cpu`` or ``cuda``."""
    return device == "cuda" or (device == "auto" and has_cuda())
