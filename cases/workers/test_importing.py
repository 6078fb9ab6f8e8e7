"""A hang while a user's module is imported is told within the limit; an import that goes on has its time."""

import os
import time
from pathlib import Path

import pytest

from harness.base.errors import BadInput
from harness.workers.process import Job, WorkerProcess

START = """\
from importlib import import_module
from harness.workers.importing import importing

def start(settings):
    with importing("subject 'a:B'"):
        import_module(settings["module"])
    return lambda task: {"done": task}
"""
STUCK = "import json\nimport time\ntime.sleep(3000)\n"
SPINS = "while True:\n    pass\n"
PART = "import time\ntime.sleep(0.5)\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path of workers."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2]))))
    (tmp_path / "importing_start.py").write_text(START)
    return tmp_path


def worker(module: str, seconds: float) -> WorkerProcess:
    return WorkerProcess(Job("importing_start:start", {"module": module}, seconds))


@pytest.mark.parametrize(("text", "line"), [(STUCK, "stuck.py:3: time.sleep(3000)"), (SPINS, "stuck.py:")])
def test_a_hang_is_told_within_the_limit(text: str, line: str, place: Path) -> None:
    (place / "stuck.py").write_text(text)
    began, process = time.monotonic(), worker("stuck", 1.0)
    with pytest.raises(BadInput) as refused:
        process.wait_until_ready()
    process.kill()
    assert str(refused.value).startswith("importing subject 'a:B': no answer within 1 s; it was stopped at ")
    assert str(refused.value).endswith("; --seconds N allows more time")
    assert line in str(refused.value)
    assert time.monotonic() - began < 60


def test_an_import_that_goes_on_has_its_time(place: Path) -> None:
    (place / "slow.py").write_text("".join(f"import slow_{part}\n" for part in range(6)))
    for part in range(6):
        (place / f"slow_{part}.py").write_text(PART)
    process = worker("slow", 2.0)  # it takes more than that
    process.wait_until_ready()
    assert process.ask(3) == {"done": 3}
    process.kill()
