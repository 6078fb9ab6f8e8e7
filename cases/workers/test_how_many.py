"""How many workers a run has where nobody says."""

import os

import pytest

from harness.base.errors import BadInput
from harness.workers.pool import workers_for


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(1, 1, 1), (2, 1, 2), (64, 1, 8), (1, 2, 1), (2, 2, 1), (6, 2, 3), (64, 2, 8)]
)
def test_all_processes_of_the_workers_are_one_per_core(
    cores: int, processes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert workers_for(0, processes=processes) == workers


def test_what_is_asked_for_is_taken_and_on_one_gpu_there_is_one() -> None:
    assert workers_for(5, one=True, processes=2) == 5
    assert workers_for(0, one=True) == 1
    with pytest.raises(BadInput, match="expected 1 or more, or 0 for the default"):
        workers_for(-1)
