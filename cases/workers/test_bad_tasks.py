"""Bad input that only a task shows."""

from collections.abc import Callable
from typing import Any

import pytest

from harness.base.errors import BadInput
from harness.workers.pool import Pool
from harness.workers.process import Job


def start(settings: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """A worker that can do one of two tasks."""

    def answer(task: str) -> dict[str, Any]:
        if task == "bad":
            raise BadInput(f"{task}: expected {settings['expected']}")
        return {"done": task}

    return answer


def test_bad_input_in_a_task_ends_the_run_with_its_line() -> None:
    job = Job("cases.workers.test_bad_tasks:start", {"expected": "good"}, 60.0)
    replies = iter(Pool(job, [["good", "bad", "good"]], 1))
    assert next(replies).answer == {"done": "good"}
    with pytest.raises(BadInput, match="bad: expected good"):
        next(replies)
