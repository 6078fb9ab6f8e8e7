"""The pool: worker processes that judge cases side by side. A worker that dies is replaced, and its case is reported."""

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from queue import Queue
from typing import Any

from harness.errors import BadInput
from harness.finding import ERROR, Verdict
from harness.matrix import Selection
from harness.repro import again

CASE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pool is to judge, and how."""

    selection: Selection
    subject: str
    spec: str
    device: str
    workers: int
    path: tuple[str, ...] = ()
    seconds: float = CASE_SECONDS


@dataclass
class Pool:
    """Judges a plan. Tasks of one model stay together: they share weights and compiled kernels."""

    plan: Plan
    _groups: deque[deque[int]] = field(init=False)
    _answers: "Queue[Verdict | BaseException | None]" = field(default_factory=Queue)
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.tasks = self.plan.selection.tasks()
        groups: dict[str, deque[int]] = {}
        for index, (case, _) in enumerate(self.tasks):
            groups.setdefault(case.model, deque()).append(index)
        widest = sorted(groups, key=lambda model: -max(self.tasks[index][0].hidden for index in groups[model]))
        self._groups = deque(groups[model] for model in widest)
        self.total = len(self.tasks)

    def __iter__(self) -> Iterator[Verdict]:
        """The verdicts as they come. Raises BadInput if the subject cannot be used."""
        count = max(1, min(self.plan.workers, len(self._groups)))
        threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield from self._collect(count)
        finally:
            self.close()

    def _collect(self, running: int) -> Iterator[Verdict]:
        while running:
            answer = self._answers.get()
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                running -= 1
            else:
                yield answer

    def close(self) -> None:
        """Stop every worker at once."""
        self._closed = True
        for process in self._running:
            process.kill()
            process.wait()

    def _run(self) -> None:
        """One worker's life: take a group, judge it, take the next; a process that dies is started anew."""
        group: deque[int] = deque()
        process: subprocess.Popen[str] | None = None
        try:
            while not self._closed and (group := group or self._next_group()):
                process = process or self._start()
                verdict = self._ask(process, group.popleft())
                if verdict.reason.startswith(_DIED):
                    process = None
                self._answers.put(verdict)
            self._answers.put(None)
        except Exception as error:
            self._answers.put(error)
        finally:
            if process is not None:
                process.kill()

    def _next_group(self) -> deque[int]:
        try:
            return self._groups.popleft()
        except IndexError:  # another worker took the last one
            return deque()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "import sys; from harness.worker import main; sys.exit(main())"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._running.append(process)
        plan = self.plan
        settings = {"path": plan.path, "threads": 1, "device": plan.device, "subject": plan.subject, "spec": plan.spec}
        self._send(process, settings | {"selection": asdict(plan.selection)})
        greeting = json.loads(self._read(process) or "{}")
        if "bad_input" in greeting:
            raise BadInput(greeting["bad_input"])
        if not greeting:
            raise BadInput(
                f"the worker process ended before it was ready (exit code {process.wait()}); try `harness list`"
            )
        return process

    def _ask(self, process: subprocess.Popen[str], index: int) -> Verdict:
        try:
            self._send(process, index)
            line = self._read(process)
        except BrokenPipeError:
            line = ""
        return Verdict.from_json(json.loads(line)) if line else self._died(process, index)

    def _send(self, process: subprocess.Popen[str], message: Any) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()

    def _read(self, process: subprocess.Popen[str]) -> str:
        """One line of a worker; empty if it died, or was killed because it took too long."""
        assert process.stdout is not None
        timer = threading.Timer(self.plan.seconds, process.kill)
        timer.start()
        try:
            return process.stdout.readline()
        finally:
            timer.cancel()

    def _died(self, process: subprocess.Popen[str], index: int) -> Verdict:
        code = process.wait()
        (case, mode), plan = self.tasks[index], self.plan
        return Verdict(
            subject=plan.spec,
            case=case.id,
            model=case.model,
            hidden=case.hidden,
            padded=case.padded,
            mode=mode.name,
            status=ERROR,
            reason=f"{_DIED} (exit code {code}); more than {plan.seconds:.0f} s is killed too",
            again=again(case, mode.name, plan.spec, plan.device),
            changes=case.changes,
        )


_DIED = "the worker process died"
