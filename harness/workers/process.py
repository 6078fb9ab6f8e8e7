"""The parent's side of a worker process: start it, send it tasks, and kill it when it takes too long."""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import Any

from harness.base.errors import BadInput

# Generous, since the first compile into an empty cache takes 20 s on two cores.
TASK_SECONDS = 300.0
_MAIN = "import sys; from harness.workers.worker import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does. Settings, tasks and answers are JSON values. ``seconds`` is the limit for one task.

    ``start`` names a function as ``module:name``. It takes the settings and returns a function from a task to its answer.
    ``command`` starts the worker in another environment; empty means this Python.
    """

    start: str
    settings: dict[str, Any]
    seconds: float = TASK_SECONDS
    command: tuple[str, ...] = ()


class WorkerProcess:
    """A started worker. Call ``wait_until_ready`` before ``ask``."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        # A session of its own: Ctrl-C reaches only the parent, which then kills its workers.
        self._process = subprocess.Popen(
            job.command or (sys.executable, "-c", _MAIN),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Wait until it has imported torch and started its job. Raises BadInput if the job cannot start."""
        # A short limit for a task must not also limit importing torch on a busy machine.
        seconds = max(self._job.seconds, TASK_SECONDS)
        greeting = self._exchange({"start": self._job.start, "settings": self._job.settings}, seconds)
        if "bad_input" in greeting:
            raise BadInput(greeting["bad_input"])
        if not greeting:
            raise BadInput(f"a worker process ended before it was ready: {self.exit_reason()}")

    def ask(self, task: Any) -> dict[str, Any] | None:
        """The answer to a task; None if the worker died."""
        return self._exchange(task, self._job.seconds) or None

    def exit_reason(self) -> str:
        """How a dead worker ended: its exit code and its last line on standard error."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"exit code {code}" + (f", {lines[-1]}" if lines else "")

    def kill(self) -> None:
        """Kill it and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError, ValueError):
                assert pipe is not None
                pipe.close()

    def _exchange(self, message: Any, seconds: float) -> dict[str, Any]:
        """Send a message and read the answer. Empty if the worker died, or was killed because it took too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(seconds, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            answer: dict[str, Any] = (
                json.loads(line) if line.endswith("\n") else {}
            )  # a killed worker may leave half a line
        except BrokenPipeError:
            return {}
        else:
            return answer
        finally:
            timer.cancel()
