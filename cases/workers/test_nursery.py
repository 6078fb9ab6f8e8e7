"""Workers that are forks of one process, which imported what they need once: they answer, hang, die and end as any other."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base.errors import BadInput
from harness.workers import nursery as nurseries
from harness.workers.nursery import Nursery, nursery_of
from harness.workers.pool import Pool
from harness.workers.process import Job

# What imports takes the place of torch and of an engine, and counts in a file how often it ran.
START = """\
import os, sys, threading, time
from pathlib import Path
from types import SimpleNamespace

here = "each worker's own"

def imports():
    global here
    with open(Path(__file__).with_name("imported"), "a") as file:
        file.write("once ")
    here = "the nursery's too"
    if os.environ.get("NO_FORK"):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    if os.environ.get("NO_ENGINE"):
        from harness.base.errors import BadInput
        raise BadInput("this engine cannot be used")

def start(settings):
    def answer(task):
        print("this is no answer")
        if task == "die":
            sys.stderr.write("it ended\\n")
            os._exit(3)
        if task == "hang":
            time.sleep(3000)
        return {"here": here, "pid": os.getpid(), "parent": os.getppid(), "leads": os.getpgid(0)}

    return answer
"""
TORCH = """\
from types import SimpleNamespace
cuda = SimpleNamespace(is_initialized=lambda: False)
def set_num_threads(count): pass
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2]))))
    (tmp_path / "nursery_start.py").write_text(START)
    (tmp_path / "torch.py").write_text(TORCH)
    return tmp_path


def job(seconds: float = 60.0) -> Job:
    settings = {"threads": 1, "subject": "one"}
    return Job("nursery_start:start", settings, seconds, imports="nursery_start:imports")


@pytest.fixture
def nursery(place: Path) -> Iterator[Nursery]:
    made = Nursery(job())
    yield made
    made.kill()


def is_gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


def test_workers_share_one_import(place: Path, nursery: Nursery) -> None:
    groups = [[1, 2], [3], [4]]
    answers = [reply.answer or {} for reply in Pool(job(), groups, 2, new=nursery.worker)]
    assert {answer["here"] for answer in answers} == {"the nursery's too"}
    assert len({answer["pid"] for answer in answers}) == 2
    assert len({answer["parent"] for answer in answers}) == 1
    assert all(answer["leads"] == answer["pid"] for answer in answers)
    assert (place / "imported").read_text().split() == ["once"]


def test_a_death_is_told_and_another_worker_goes_on(nursery: Nursery) -> None:
    replies = list(Pool(job(), [["die", 1]], 1, new=nursery.worker))
    assert replies[0].died == "exit code 3, it ended"
    assert replies[1].answer
    assert is_gone(replies[1].answer["pid"])


def test_a_hang_is_stopped(nursery: Nursery) -> None:
    (reply,) = list(Pool(job(1.0), [["hang"]], 1, new=nursery.worker))
    assert reply.died.startswith("no answer within 1 s")


def test_a_process_with_other_threads_is_not_forked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_FORK", "1")
    with nursery_of(job()) as nursery:
        assert nursery is not None
        (reply,) = list(Pool(job(), [[1]], 1, new=nursery.worker))
    assert (reply.answer or {})["here"] == "each worker's own"


def test_an_engine_that_cannot_be_imported_is_bad_input(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_ENGINE", "1")
    with pytest.raises(BadInput, match="this engine cannot be used"), nursery_of(job()):
        pass


def test_a_job_without_an_import_has_no_nursery() -> None:
    with nursery_of(Job("nursery_start:start", {})) as nursery:
        assert nursery is None
    assert nurseries.START.partition(":")[0] == nurseries.__name__
