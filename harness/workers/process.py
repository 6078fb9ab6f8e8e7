"""The parent's side of a worker process: start it, send it tasks, and kill it when it takes too long."""

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.base.errors import BadInput
from harness.base.options import CASE_SECONDS
from harness.base.printable import bounded, printable
from harness.base.source import SourceLine, is_library
from harness.workers.forking import forked
from harness.workers.stray import is_halted, kill_family, waited_for_core

TASK_SECONDS = CASE_SECONDS
# How often the parent looks whether a silent worker still lives. A child of the worker may hold its pipe open.
_LOOK_SECONDS = 0.25
# A look that took this long: this process stood still, as under SIGSTOP or in a container that was paused, and so may all have.
_STOOD_STILL = 2.0
# How long a process may take to end after its answers ended.
_END_SECONDS = 2.0
_MAIN = "import sys; from harness.workers.worker import main; sys.exit(main())"
MARK = "HARNESS_WORKER"
# The beginning of the reason of a worker that was stopped at its limit.
NO_ANSWER = "no answer within"
# A worker that gets this signal writes its stack to standard error (harness.workers.worker).
WHERE = signal.SIGUSR1
_FRAME = re.compile(r'File "([^"]+)", line (\d+) in ')
_TAIL = 20_000
# What Python and torch write when a process ends or its children do: it says nothing of why.
_AT_END = re.compile(
    r"resource_tracker|leaked (?:semaphore|shared_memory|folder)|^\s*warnings\.warn\(|Exception ignored in|"
    r"destroy_process_group|process group has NOT been destroyed|_MultiProcessing.*shutdown|"
    r"can't create new thread at interpreter shutdown|cannot schedule new futures after (?:interpreter )?shutdown"
)


Made = Callable[[dict[str, str], int], Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does. Settings, tasks and answers are JSON values. ``seconds`` is the limit for one task.

    ``start`` names a function as ``module:name``. It takes the settings and returns a function from a task to its answer.
    ``command`` starts the worker in another environment; empty means this Python. ``imports`` names a function there that imports
    what each worker needs, and starts nothing: workers may be forks of a process that did so (harness.workers.nursery).
    """

    start: str
    settings: dict[str, Any]
    seconds: float = TASK_SECONDS
    command: tuple[str, ...] = ()
    imports: str = ""


class WorkerProcess:
    """A started worker. Call ``wait_until_ready`` before ``ask``."""

    def __init__(self, job: Job, fork: bool = False, made: Made = lambda mark, errors: None, keep: int = -1) -> None:
        """``fork``: a fork of this worker, which has imported what the job needs, in place of its command.

        ``made`` may make the process from what it is to have in its environment and its standard error; where that gives None, the
        command does. ``keep`` is a file that it keeps open.
        """
        self._job = job
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._written = 0  # to standard error, before the task that it was given last
        self._read = b""
        self._late = ""
        self._doing = ""  # before it is ready
        self.notes: list[dict[str, Any]] = []  # of the task that it was given last
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        mark = dict([self._mark.split("=")])
        # A session of its own: Ctrl-C reaches only the parent, which then kills its workers.
        self._process: Any = made(mark, self._errors.fileno()) or subprocess.Popen(
            job.command or (sys.executable, "-c", _MAIN),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | mark,
            preexec_fn=forked(mark) if fork else None,  # nothing is executed after it
            bufsize=0,
            start_new_session=True,
            pass_fds=(keep,) * (keep >= 0),
        )
        self._silence = _Limit(self._process.pid, 0.0)

    def wait_until_ready(self) -> None:
        """Wait until it has imported torch and started its job. Raises BadInput if the job cannot start."""
        # A short limit for a task must not also limit importing torch on a busy machine.
        seconds = max(self._job.seconds, TASK_SECONDS)
        job = {"start": self._job.start, "settings": self._job.settings, "seconds": self._job.seconds}
        if not self._refused(self._exchange(job, seconds)):
            end = self.exit_reason()
            if self._doing and end.startswith(NO_ANSWER):
                raise BadInput(f"{self._doing}: {end}; --seconds N allows more time")
            raise BadInput(f"a worker process ended before it was ready: {end}")

    @property
    def silence(self) -> "_Limit":
        """The time since its latest message, without that in which other processes had its core."""
        return self._silence

    def stop(self, why: str) -> None:
        """Kill it with every process that it started, from another thread than the one that asks it. ``ask`` then ends."""
        self._stop(why)

    def ask(self, task: Any) -> dict[str, Any] | None:
        """The answer to a task; None if the worker died. Raises BadInput if the task shows that the input cannot be used."""
        return self._refused(self._exchange(task, self._job.seconds)) or None

    def _refused(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "bad_input" in answer:
            self.kill()
            raise BadInput(answer["bad_input"])
        return answer

    def exit_reason(self) -> str:
        """How a dead worker ended: its exit code, and its last line on standard error but for warnings of a process that ends."""
        self._wait_for_end()
        self._kill_family()
        code = self._process.wait()
        if self._late:
            return self._late
        signalled = [signal.strsignal(-code) or ""] if code < 0 else []
        last = [line for line in self._tail().strip().splitlines() if not _AT_END.search(line)][-1:]
        return ", ".join([f"exit code {code}", *signalled, *(printable(bounded(line, 500)) for line in last)])

    def _wait_for_end(self) -> None:
        """Give a process that closed its answers the time to end by itself. One that runs on is stopped, which is the reason."""
        if self._late:
            return
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._late = "it closed the pipe of its answers and ran on; it was stopped"

    def kill(self) -> None:
        """Kill it with every process that it started, and close its pipes."""
        if (
            self._process.stdout is None or self._process.stdout.closed
        ):  # its number may belong to another process by now
            return
        self._kill_family()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError, ValueError):
                assert pipe is not None
                pipe.close()

    def _kill_family(self) -> None:
        kill_family(self._process.pid, self._mark, self._errors.fileno())

    def _tail(self) -> str:
        """The end of what it wrote to standard error since its last task began. A subject may have written gigabytes."""
        end = os.fstat(self._errors.fileno()).st_size
        start = max(self._written, end - _TAIL)
        return os.pread(self._errors.fileno(), max(0, end - start), start).decode(errors="replace")

    def _asked_where(self) -> str:
        """The user's line that it is at, from the stack that it writes when it is asked; empty where there is none."""
        with contextlib.suppress(OSError):
            self._process.send_signal(WHERE)
            self._process.send_signal(signal.SIGCONT)  # one that a signal halted cannot write
            time.sleep(2 * _LOOK_SECONDS)
        stack = self._tail().rpartition("most recent call first")[2]
        frames = [frame for frame in _FRAME.findall(stack) if not is_library(frame[0])]
        if not frames:
            return ""
        line = SourceLine.at(frames[0][0], int(frames[0][1]))
        return f" at {line}: {line.text}"

    def _exchange(self, message: Any, seconds: float) -> dict[str, Any]:
        """Send a message and read the answer. Empty if the worker died, or was killed because it took too long."""
        assert self._process.stdin is not None
        written = os.fstat(self._errors.fileno()).st_size
        try:
            _write_all(self._process.stdin.fileno(), json.dumps(message).encode() + b"\n")
        except (OSError, ValueError):  # it died, and its pipe is broken
            return {}
        self.notes, self._silence = [], _Limit(self._process.pid, 0.0)
        self._written = written
        limit = _Limit(self._process.pid, seconds)
        while line := self._line(limit):
            answer = _parsed(line)
            if answer is None:
                self._stop("something else than the worker wrote into its answers; it was stopped")
                return {}
            self._silence = _Limit(self._process.pid, 0.0)
            if "note" in answer:
                self.notes.append(answer["note"])
                continue
            if "begin" not in answer:
                return answer
            self._doing = answer["doing"]
            limit = _Limit(self._process.pid, answer["begin"] or seconds)
        return {}

    def _stop(self, why: str) -> None:
        self._late = why
        self._kill_family()

    def _line(self, limit: "_Limit") -> bytes:
        """The worker's next line; empty if it died or was killed at its limit."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                looked = time.monotonic()
                ready = selector.select(_LOOK_SECONDS)
                if (gap := time.monotonic() - looked) > _STOOD_STILL:
                    for clock in (limit, self._silence):
                        clock.leave_out(gap)
                if not ready:
                    if self._process.poll() is not None:
                        return b""  # half a line may be left
                    if limit.passed():
                        halted = "a signal such as SIGSTOP had halted it; " if is_halted(self._process.pid) else ""
                        at = self._asked_where()
                        self._stop(f"{NO_ANSWER} {limit.seconds:g} s; {halted}it was stopped{at}")
                        return b""
                elif chunk := os.read(self._process.stdout.fileno(), 1 << 20):
                    self._read += chunk
                else:
                    return b""
        line, _, self._read = self._read.partition(b"\n")
        return line


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A message of the worker; None where the line is none."""
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


class _Limit:
    """A limit on the time of a process that does not count the time in which other processes had its core."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self.seconds = pid, seconds
        self._start, self._waited = time.monotonic(), waited_for_core(pid)

    def leave_out(self, seconds: float) -> None:
        """Do not count these seconds."""
        self._start += seconds

    def passed(self, seconds: float = 0.0) -> bool:
        """Whether the process had more than its time; than ``seconds``, where they are given."""
        most, spent = seconds or self.seconds, time.monotonic() - self._start
        return spent > most and spent - (waited_for_core(self._pid) - self._waited) > most
