"""What is said of a worker that died: its own last line, and what is known of a fake that compiled code trusts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.findings.finding import FINDINGS, Finding, Verdict
from harness.matrix.selection import Selection
from harness.workers.plan import Plan, PlanRun
from harness.workers.process import Job, WorkerProcess

START = """\
import os, sys

def start(settings):
    def answer(task):
        sys.stderr.write(task)
        sys.stderr.flush()
        os.abort()

    return answer
"""
AT_END = """\
/usr/lib/python3.11/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked
  warnings.warn('resource_tracker: There appear to be %d '
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2]))))
    (tmp_path / "dying_start.py").write_text(START)
    process = WorkerProcess(Job("dying_start:start", {}))
    process.wait_until_ready()
    yield process
    process.kill()


@pytest.mark.parametrize(
    ("written", "end"),
    [
        (AT_END, "exit code -6, Aborted"),
        (f"malloc(): invalid size\n{AT_END}", "exit code -6, Aborted, malloc(): invalid size"),
        (f"{AT_END}free(): invalid pointer\n", "exit code -6, Aborted, free(): invalid pointer"),
    ],
)
def test_warnings_of_a_process_that_ends_are_no_reason(worker: WorkerProcess, written: str, end: str) -> None:
    assert worker.ask(written) is None
    assert worker.exit_reason() == end


@pytest.fixture
def run() -> PlanRun:
    selection = Selection(models=("gpt-oss-20b",), kernels=("wide",), tp=(1,), tokens=(7,), modes=("eager", "compiled"))
    return PlanRun(Plan(selection, "in-tree", "in-tree", "cpu", 1, bisect=True))


def verdict_of(run: PlanRun, kind: str) -> Verdict:
    case, mode = run.tasks[0]
    what = "planted::op: real gives dtype bfloat16, its fake float32"
    finding = Finding(observer="contract", kind=kind, stage="routed experts", what=what, cause="", call="first call")
    return Verdict.of("in-tree", case, mode.name, FINDINGS, findings=(finding,))


def test_a_death_after_a_wrong_fake_is_told_with_it_and_not_tried_again(
    run: PlanRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager, *compiled = range(len(run.tasks))
    ends = [
        (eager, verdict_of(run, "fake-differs").to_json(), ""),
        *((task, None, "exit code -6") for task in compiled),
    ]
    asked = deaths(run, ends, monkeypatch)
    verdicts = list(run)
    assert [verdict.status for verdict in verdicts[1:]] == ["error"] * len(compiled)
    for verdict in verdicts[1:]:
        assert "its fake float32 (mode eager)" in verdict.reason
    assert [tasks for tasks in asked if tasks] == [list(range(len(run.tasks)))]


def test_a_death_after_another_finding_is_tried_without_bisection(
    run: PlanRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager, *compiled = range(len(run.tasks))
    ends = [
        (eager, verdict_of(run, "wrong-values").to_json(), ""),
        *((task, None, "exit code -6") for task in compiled),
    ]
    asked = deaths(run, ends, monkeypatch)
    verdicts = list(run)
    assert all(verdict.reason == "the worker process died (exit code -6)" for verdict in verdicts[1:])
    assert asked == [list(range(len(run.tasks))), compiled]


def deaths(run: PlanRun, ends: list[object], monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Replace the pool: each task ends as ``ends`` says. Which tasks each pool was given is in the list."""
    from harness.workers import plan
    from harness.workers.pool import Reply

    asked: list[list[int]] = []
    known = {task: Reply(task, answer, died) for task, answer, died in ends}  # type: ignore[attr-defined]

    def pool(job: object, groups: list[list[int]], *rest: object, **more: object) -> list[Reply]:
        asked.append([task for group in groups for task in group])
        return [known[task] for task in asked[-1]]

    monkeypatch.setattr(plan, "Pool", pool)
    return asked
