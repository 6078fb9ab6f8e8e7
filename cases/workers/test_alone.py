"""A verdict with findings, of a worker that judged others before, is judged once more by a new worker."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from harness.workers.alone import Alone
from harness.workers.pool import Pool
from harness.workers.process import Job

_left: list[str] = []  # what earlier tasks left in this process


def _verdict(*kinds: str, mode: str = "eager") -> dict[str, Any]:
    findings = [{"kind": kind, "observer": "values", "call": "first call", "cause": "A cause."} for kind in kinds]
    return {"mode": mode, "status": "findings" if kinds else "ok", "findings": findings}


def start(settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """A task leaves its name. A later one is wrong for that, beside what it has of its own."""

    def answer(task: str) -> dict[str, Any]:
        own, earlier = task.split()[1:], [*_left]
        _left.append(task)
        return {"pid": os.getpid(), **_verdict(*own, *["wrong-values"] * bool(earlier and "clean" not in task))}

    return answer


def _replies(*tasks: str) -> list[dict[str, Any]]:
    job = Job("cases.workers.test_alone:start", {})
    return [reply.answer or {} for reply in Pool(job, [tasks], 1, alone=Alone())]


def _kinds(answer: dict[str, Any]) -> list[str]:
    return [finding["kind"] for finding in answer["findings"]]


def test_a_verdict_that_is_green_alone_says_that_others_take_part() -> None:
    first, second = _replies("one", "two")
    assert first["status"] == "ok"
    assert _kinds(second) == ["wrong-values"]
    assert "Alone, in a new process, the same case is ok" in second["findings"][0]["cause"]


def test_a_verdict_that_is_red_alone_is_the_one_of_that_process() -> None:
    _, second = _replies("one", "two stale")
    assert _kinds(second) == ["stale"]
    assert second["findings"][0]["cause"] == "A cause."


def test_the_new_worker_goes_on() -> None:
    _, second, third = _replies("one", "two stale", "three-clean")
    assert second["pid"] == third["pid"]


def test_one_that_was_the_same_alone_is_asked_no_more() -> None:
    pids = [answer["pid"] for answer in _replies("one", "two-clean scaled", "three-clean scaled", "four-clean scaled")]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    alone = Alone()
    assert alone.doubts(_verdict("scaled"))
    alone.settle(_verdict("scaled"), _verdict("scaled"))
    assert not alone.doubts(_verdict("scaled"))


@pytest.mark.parametrize(
    "answer",
    [
        _verdict(),
        _verdict("width-mismatch"),
        _verdict("wrong-values", mode="compiled"),
        _verdict("stale", mode="varied-compiled"),
    ],
)
def test_what_no_earlier_verdict_can_cause_is_not_doubted(answer: dict[str, Any]) -> None:
    assert not Alone().doubts(answer)


def test_there_is_an_end_to_it_and_the_rest_says_that_others_may_take_part() -> None:
    alone = Alone()
    while alone.doubts(_verdict("stale")):
        alone.settle(_verdict("stale"), _verdict())
    assert "may take part" in alone.qualified(_verdict("stale"))["findings"][0]["cause"]
    assert alone.qualified(_verdict()) == _verdict()


def test_a_new_worker_that_dies_leaves_the_first_answer() -> None:
    assert Alone().settle(_verdict("stale"), None) == _verdict("stale")
