"""The limit of a task: what it counts, and what it does not."""

import os
from pathlib import Path

import pytest

from harness.workers import process, stray
from harness.workers.process import _Limit


def test_time_in_which_others_had_the_core_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waited = [0.0], [0.0]
    monkeypatch.setattr(process.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(process, "waited_for_core", lambda pid: waited[0])
    limit = _Limit(os.getpid(), 10.0)
    clock[0] = 9.0
    assert not limit.passed()
    clock[0], waited[0] = 100.0, 95.0  # at a load of twenty times the cores
    assert not limit.passed()
    clock[0] = 106.0
    assert limit.passed()


def test_time_in_which_this_process_stood_still_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(process.time, "monotonic", lambda: clock[0])
    limit = _Limit(os.getpid(), 10.0)
    clock[0] = 100.0
    limit.leave_out(95.0)
    assert not limit.passed()
    clock[0] = 106.0
    assert limit.passed()


def test_a_process_that_is_gone_waited_for_nothing() -> None:
    assert stray.waited_for_core(2**30) == 0.0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux's scheduler statistics")
def test_this_process_waited_for_some_time() -> None:
    assert 0.0 < stray.waited_for_core(os.getpid()) < 100_000.0
