"""Signals that end or halt a run: the records so far stay, no process is left, and the exit code is the signal's."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fixtures.recorded import results

ROOT = Path(__file__).parents[2]
MARK = "HARNESS_TEST_INTERRUPTIONS"
MODELS = [f"m{number}" for number in range(40)]
SHAPE = {"hidden": 80, "intermediate": 48, "experts": 4, "top_k": 2, "activation": "silu", "gated": True}
SUBJECT = """\
import time
from kernels.layer.subject import InTree

class Slow(InTree):
    def build(self, case, device):
        time.sleep(0.3)
        return super().build(case, device)
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("signals_that_end"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"),
]


def command(place: Path, seconds: int = 20) -> list[str]:
    (place / "slow_subject.py").write_text(SUBJECT)
    (place / "m.json").write_text(json.dumps({"models": [{"name": name} | SHAPE for name in MODELS]}))
    options = (
        f"--device cpu --modes eager --tp 1 --kernels wide --seconds {seconds} -j 2 --subject slow_subject:Slow".split()
    )
    files = ["--models-file", str(place / "m.json"), "--json", str(place / "v.jsonl")]
    return [sys.executable, "-m", "harness", "check", *options, *files]


def environment(place: Path) -> dict[str, str]:
    return os.environ | {MARK: str(place), "PYTHONPATH": f"{ROOT}{os.pathsep}{place}", "OMP_NUM_THREADS": "1"}


def left(place: Path) -> list[int]:
    """The processes of the run that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={place}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.1)


def begun(place: Path) -> bool:
    file = place / "v.jsonl"
    return file.exists() and file.read_bytes().count(b"\n") >= 4


def started(place: Path, seconds: int = 20) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command(place, seconds), env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for(lambda: begun(place) or process.poll() is not None)
    return process


def assert_kept(place: Path) -> None:
    """Each record is whole, there are some, and no process is left."""
    assert (place / "v.jsonl").read_bytes().endswith(b"\n")
    assert {record["status"] for record in results(place / "v.jsonl")} == {"ok"}
    wait_for(lambda: not left(place), 10)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGINT, signal.SIGTERM], 130),
        ([signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT], 143),
    ],
    ids=["hang-up", "several", "halted"],
)
def test_the_first_signal_ends_the_run(numbers: list[signal.Signals], code: int, tmp_path: Path) -> None:
    process = started(tmp_path)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.05)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert errors.decode().splitlines()[-1] == "harness: interrupted; records written so far are complete"
    assert b"Traceback" not in errors
    assert_kept(tmp_path)


def test_a_terminal_that_closes_is_no_finding(tmp_path: Path) -> None:
    arguments, variables = command(tmp_path), environment(tmp_path)
    process, terminal = pty.fork()
    if not process:
        os.execve(arguments[0], arguments, variables)
    os.set_blocking(terminal, False)

    def read() -> bool:
        with suppress(OSError):
            os.read(terminal, 1 << 16)
        return begun(tmp_path)

    wait_for(read)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 129
    assert_kept(tmp_path)


CLOSED = """\
import os, pty, sys
from harness import cli

def interrupted(arguments):
    print("a line that nobody reads")
    raise KeyboardInterrupt

terminal, ours = pty.openpty()
sys.{stream} = open(ours, "w")
sys.stdout.reconfigure(line_buffering=False)
os.close(terminal)
cli._run = interrupted
sys.exit(cli.main([]))
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_text_that_a_closed_terminal_does_not_take_leaves_the_exit_code(stream: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED.format(stream=stream)], capture_output=True, cwd=ROOT, timeout=60
    )
    assert ended.returncode == 130, ended.stderr.decode()


LATE = """\
import os, signal, sys
from harness import cli

def interrupted(arguments):
    os.kill(os.getpid(), signal.SIGINT)

cli._run = interrupted
code = cli.main()
os.kill(os.getpid(), signal.SIGTERM)
sys.exit(code)
"""


def test_a_second_signal_while_python_ends_leaves_the_exit_code() -> None:
    ended = subprocess.run([sys.executable, "-c", LATE], capture_output=True, cwd=ROOT, timeout=60)
    assert ended.returncode == 130, ended.stderr.decode()


def test_a_run_that_was_halted_as_a_whole_goes_on(tmp_path: Path) -> None:
    process = started(tmp_path, seconds=4)
    halted = left(tmp_path)
    for one in halted:  # as a container that is paused, or a job that a scheduler suspends
        os.kill(one, signal.SIGSTOP)
    time.sleep(8)
    for one in reversed(halted):
        os.kill(one, signal.SIGCONT)
    process.communicate(timeout=200)
    assert process.returncode == 0
    assert len(results(tmp_path / "v.jsonl")) == len(MODELS)
    assert_kept(tmp_path)
