"""What the machine lacks is one line and exit code 2: exit code 1 would say that a layer has findings."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main

ROOT = Path(__file__).parents[2]
HARNESS = f"PYTHONPATH={ROOT} {sys.executable} -m harness"


def shell(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize(
    ("line", "code", "named"),
    [
        (f"{HARNESS} docs >/dev/full", 2, "harness: the machine: [Errno 28]"),
        (f"{HARNESS} docs >&-", 0, ""),
        (
            f"ulimit -n 20; {HARNESS} check --models gpt-oss-20b --modes eager",
            2,
            "harness: the machine: a process may have 20 files",
        ),
        (
            f"ulimit -n 63; {HARNESS} check --models gpt-oss-20b --modes eager",
            2,
            "harness: the machine: a process may have 63 files",
        ),
        (f"rmdir ../gone; {HARNESS} repro", 2, "harness: the current folder was removed"),
    ],
    ids=["disk", "closed", "twenty-files", "files", "folder"],
)
def test_one_line(line: str, code: int, named: str, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = shell(line, tmp_path / "gone")
    assert done.returncode == code
    assert done.stderr.startswith(named)
    assert done.stderr.count("\n") == bool(named)


def test_another_error_of_the_system_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(chosen: object) -> int:
        raise FileNotFoundError(2, "a file of the harness's own")

    monkeypatch.setattr("harness.commands.docs.run", missing)
    with pytest.raises(FileNotFoundError):
        main(["docs"])
