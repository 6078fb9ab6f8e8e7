"""Subjects that hang, fork, exit, crash, flood or fiddle: each is told truly, within its limit, and leaves no process."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fixtures import sampled
from fixtures.misbehaving import MISDEEDS, WITHOUT
from fixtures.recorded import results

ROOT = Path(__file__).parents[2]
MARK = "HARNESS_TEST_MISBEHAVING"
SECONDS = 5
ONE = ("--device", "cpu", "--modes", "eager", "--tp", "1", "--kernels", "wide")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"),
]


def command(*more: str) -> list[str]:
    return [sys.executable, "-m", "harness", "check", *ONE, "--seconds", str(SECONDS), *more]


def marked(mark: str) -> dict[str, str]:
    """The environment of a run, with a mark to find its processes by."""
    return os.environ | {MARK: mark, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def left(mark: str) -> list[int]:
    """The processes with this mark that still run, and those that have no environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if is_marked or WITHOUT[-1].encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def gone(mark: str, seconds: float = 10) -> bool:
    """Whether all processes with this mark end within this time."""
    end = time.monotonic() + seconds
    while left(mark):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def ran(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> dict[str, Any]:
    """One run of every misdeed, or of two of three: its records by model, what it printed, and its exit code.

    Most of them wait, so that more run at once than there are cores.
    """
    names = [name for place, name in enumerate(MISDEEDS) if place % 3 or sampled.does_all(pytestconfig)]
    folder = tmp_path_factory.mktemp("misbehaving")
    shape = {"hidden": 80, "intermediate": 48, "experts": 4, "top_k": 2, "activation": "silu", "gated": True}
    (folder / "m.json").write_text(json.dumps({"models": [{"name": name} | shape for name in names]}))
    arguments = ["--models-file", str(folder / "m.json"), "--json", str(folder / "v.jsonl"), "-j", "5"]
    done = subprocess.run(
        command("--subject", "fixtures.misbehaving:Misbehaves", *arguments),
        cwd=ROOT,
        env=marked(str(folder)),
        capture_output=True,
        timeout=280,
        check=False,
    )
    records = results(folder / "v.jsonl")
    return {
        "names": names,
        "records": {record["model"]: record for record in records},
        "output": done.stdout.decode(),
        "errors": done.stderr.decode(),
        "code": done.returncode,
        "mark": str(folder),
    }


def test_each_is_told_truly_and_nothing_is_left(ran: dict[str, Any], subtests: pytest.Subtests) -> None:
    """One test: each worker that has one of several would run all misdeeds, a minute or two."""
    assert gone(ran["mark"])
    assert ran["code"] == 2
    assert set(ran["records"]) == set(ran["names"])
    assert len(ran["names"]) >= 40
    with subtests.test("nothing floods the terminal"):
        assert "Traceback" not in ran["output"] + ran["errors"]
        assert len(ran["output"]) < 100_000
        assert ran["output"].replace("\n", "").isprintable()
    for name, record in ran["records"].items():
        _, _, statuses, named = MISDEEDS[name]
        with subtests.test(name):
            text = json.dumps(record, ensure_ascii=False).replace("\\u001b", "\\x1b").replace("\\u0007", "\\x07")
            assert record["status"] in statuses, text[:2000]
            assert named in text.replace('\\"', '"')[:60_000]


@pytest.mark.usefixtures("signals_that_end")
@pytest.mark.parametrize(
    ("subject", "code"),
    [("EndsItsParent", 143), ("KillsItsParent", -9), ("InterruptsItsParent", 130), ("HangsUpOnItsParent", 129)],
)
def test_workers_end_with_their_parent(subject: str, code: int, tmp_path: Path) -> None:
    arguments = ["--models", "qwen3-30b-a3b", "--subject", f"fixtures.misbehaving:{subject}"]
    done = subprocess.run(
        command(*arguments), cwd=ROOT, env=marked(str(tmp_path)), capture_output=True, timeout=100, check=False
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert gone(str(tmp_path))
