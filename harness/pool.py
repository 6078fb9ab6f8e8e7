"""The pool: workers that judge side by side. A worker that dies is replaced, and the case it died over is reported."""

import threading
from collections import deque
from collections.abc import Iterator
from queue import Queue

from harness.finding import ERROR, Verdict
from harness.process import Plan, WorkerProcess
from harness.repro import again


class Pool:
    """Judges a plan. Tasks of one model stay together: they share weights and compiled kernels."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tasks = plan.selection.tasks()
        groups: dict[str, deque[int]] = {}
        for index, (case, _) in enumerate(self.tasks):
            groups.setdefault(case.model, deque()).append(index)
        # The longest first, so that no worker is left with a long one at the end.
        widest = sorted(groups, key=lambda model: -max(self.tasks[index][0].hidden for index in groups[model]))
        self._groups = deque(groups[model] for model in widest)
        self._answers: Queue[Verdict | BaseException | None] = Queue()
        self._workers: list[WorkerProcess] = []
        self._closed = False

    def __iter__(self) -> Iterator[Verdict]:
        """The verdicts as they come. Raises BadInput if the subject cannot be used."""
        running = max(1, min(self.plan.workers, len(self._groups)))
        for _ in range(running):
            threading.Thread(target=self._run, daemon=True).start()
        try:
            while running:
                answer = self._answers.get()
                if isinstance(answer, BaseException):
                    raise answer
                if answer is None:
                    running -= 1
                else:
                    yield answer
        finally:
            self.close()

    def close(self) -> None:
        """Stop every worker at once."""
        self._closed = True
        for worker in self._workers:
            worker.kill()

    def _run(self) -> None:
        """One thread's life: take a group of tasks, have its worker judge them, take the next."""
        group: deque[int] = deque()
        worker: WorkerProcess | None = None
        try:
            while not self._closed and (group := group or self._next_group()):
                worker = worker or self._start()
                task = group.popleft()
                verdict = worker.ask(task)
                self._answers.put(verdict or self._died(worker, task))
                worker = worker if verdict else None
            self._answers.put(None)
        except Exception as error:
            self._answers.put(None if self._closed else error)

    def _next_group(self) -> deque[int]:
        try:
            return self._groups.popleft()
        except IndexError:  # another worker took the last one
            return deque()

    def _start(self) -> WorkerProcess:
        worker = WorkerProcess(self.plan)
        self._workers.append(worker)  # before it is ready: whoever stops the pool must find it
        worker.greet()
        return worker

    def _died(self, worker: WorkerProcess, task: int) -> Verdict:
        (case, mode), plan = self.tasks[task], self.plan
        return Verdict(
            subject=plan.spec,
            case=case.id,
            model=case.model,
            hidden=case.hidden,
            padded=case.padded,
            mode=mode.name,
            status=ERROR,
            reason=f"the worker process died ({worker.last_words()}); a case gets {plan.seconds:.0f} s",
            again=again(case, mode.name, plan.spec, plan.device),
            changes=case.changes,
        )
