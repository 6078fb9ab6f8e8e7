"""A worker that a worker forks: it answers by pipes of its own, and a hang, a death and an orphan are told as of any other."""

import os
import threading
import time
from pathlib import Path

import pytest

from harness.workers import forking
from harness.workers.process import Job, WorkerProcess

# The worker has a value that no module has on disk: only a fork of it has it too.
START = """\
import os, subprocess, sys, time
from types import SimpleNamespace
from harness.workers.forking import may_fork
from harness.workers.process import Job, WorkerProcess

here = "the worker's own"

def start(settings):
    global here
    sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False))
    here = "the fork's too"
    fork = may_fork()
    del sys.modules["torch"]
    other = WorkerProcess(Job("forking_start:other", settings, seconds=settings["seconds"]), fork)
    other.wait_until_ready()

    def answer(task):
        answered = other.ask(task)
        return {"fork": fork, "pids": [os.getpid(), os.getppid()], **(answered or {"died": other.exit_reason()})}

    return answer

def other(settings):
    def answer(task):
        print("this is no answer")
        if task == "die":
            sys.exit("it ended")
        if task == "hang":
            time.sleep(3000)
        if task == "start":
            subprocess.Popen(["sleep", "3000"], start_new_session=True)
        files = [name for name in os.listdir("/proc/self/fd") if int(name) > 2]
        return {"here": here, "other": os.getpid(), "parent": os.getppid(), "leads": os.getpgid(0), "files": len(files)}

    return answer
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path of workers."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2]))))
    (tmp_path / "forking_start.py").write_text(START)
    return tmp_path


def worker(seconds: float = 60.0) -> WorkerProcess:
    process = WorkerProcess(Job("forking_start:start", {"seconds": seconds}))
    process.wait_until_ready()
    return process


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends within this time: a signal takes a moment on a busy machine."""
    end = time.monotonic() + seconds
    while is_there(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_there(pid)


def test_a_fork_answers_and_ends_with_its_worker(place: Path) -> None:
    process = worker()
    answer = process.ask("a")
    assert answer is not None
    assert (answer["fork"], answer["here"]) == (True, "the fork's too")
    assert answer["parent"] == answer["pids"][0] != answer["other"] == answer["leads"]
    assert answer["files"] < 6  # its own pipes; none of the worker's
    process.kill()
    assert is_gone(answer["other"])


def test_a_fork_that_dies_says_how(place: Path) -> None:
    process = worker()
    answer = process.ask("die")
    assert answer is not None
    assert answer["died"] == "exit code 1, it ended"
    process.kill()


def test_a_fork_that_hangs_is_stopped_and_told_where(place: Path) -> None:
    process = worker(1.0)
    answer = process.ask("hang")
    assert answer is not None
    assert answer["died"].startswith("no answer within 1 s; it was stopped at ")
    assert answer["died"].endswith("time.sleep(3000)")
    process.kill()


def test_what_a_fork_started_ends_with_the_worker(place: Path) -> None:
    process = worker()
    answer = process.ask("start")
    assert answer is not None
    children = [
        int(pid) for pid in Path(f"/proc/{answer['other']}/task/{answer['other']}/children").read_text().split()
    ]
    assert children
    process.kill()
    until = time.monotonic() + 10
    while any(map(is_there, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(is_there, children))


def test_nothing_is_forked_beside_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    end = threading.Event()
    monkeypatch.setattr(forking, "_TASKS", Path("/proc/self/fd"))  # as many threads of C code as there are files
    assert not forking.may_fork()
    monkeypatch.undo()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert not forking.may_fork()
    end.set()
    for thread in threads:
        thread.join()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert not forking.may_fork()
