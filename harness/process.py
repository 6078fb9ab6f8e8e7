"""One worker process, seen from the parent: started, asked, and killed when it takes too long."""

import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import BadInput
from harness.finding import Verdict
from harness.matrix import Selection

# Generous: the first compile into an empty cache takes 20 s on two cores.
CASE_SECONDS = 300.0
_MAIN = "import sys; from harness.worker import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be judged, and how. ``subject`` is an import path, ``spec`` its name on the command line."""

    selection: Selection
    subject: str
    spec: str
    device: str
    workers: int
    path: tuple[str, ...] = ()
    seconds: float = CASE_SECONDS

    def settings(self) -> dict[str, Any]:
        """What a worker is told at its start."""
        told = {"path": self.path, "threads": 1, "device": self.device, "subject": self.subject, "spec": self.spec}
        return told | {"selection": asdict(self.selection)}


class WorkerProcess:
    """A worker, started. It takes tasks once ``greet`` has returned."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        # A session of its own: Ctrl-C is the parent's business, which then kills its workers.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def greet(self) -> None:
        """Wait until it is ready, which takes as long as importing torch. Raises BadInput if it cannot be."""
        greeting = self._exchange(self._plan.settings())
        if "bad_input" in greeting:
            raise BadInput(greeting["bad_input"])
        if not greeting:
            raise BadInput(f"a worker process ended before it was ready: {self.last_words()}")

    def ask(self, task: int) -> Verdict | None:
        """The verdict on a task; None if the worker died over it."""
        answer = self._exchange(task)
        return Verdict.from_json(answer) if answer else None

    def last_words(self) -> str:
        """How a dead worker ended: its exit code and the last line that it wrote to standard error."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"exit code {code}" + (f", {lines[-1]}" if lines else "")

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def _exchange(self, message: Any) -> dict[str, Any]:
        """Send a message and read the answer; empty if the worker died, or was killed because it took too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(self._plan.seconds, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            answer: dict[str, Any] = json.loads(line) if line.endswith("\n") else {}  # half a line if it was killed
        except BrokenPipeError:
            return {}
        else:
            return answer
        finally:
            timer.cancel()
