"""How many workers a run has where nobody says."""

import os

import pytest

from harness.base.errors import BadInput
from harness.engines.released.targets import Target
from harness.matrix.selection import Selection
from harness.matrix.shapes import BUILT_IN
from harness.workers.pool import workers_for


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (6, 6), (64, 8)])
def test_there_is_one_per_core_and_at_most_eight(cores: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert workers_for(0) == workers


def test_a_release_is_judged_by_so_many_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr(Target, "command", lambda *_: ())
    assert Target("vllm").plan(Selection(models_file=str(BUILT_IN)), 0, print).workers == 6
    assert Target("vllm").plan(Selection(models_file=str(BUILT_IN)), 3, print).workers == 3


def test_what_is_asked_for_is_taken_and_on_one_gpu_there_is_one() -> None:
    assert workers_for(5, one=True) == 5
    assert workers_for(0, one=True) == 1
    with pytest.raises(BadInput, match="expected 1 or more, or 0 for the default"):
        workers_for(-1)
