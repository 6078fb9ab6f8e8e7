"""The main job: every padded layer means the same eager, traced, compiled and replayed. ``pytest -k padding`` runs it."""

from collections.abc import Callable

from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.modes import ModeInfo


def test_padding(padding_case: Case, mode: ModeInfo, hold: Callable[[Case, ModeInfo], Verdict]) -> None:
    verdict = hold(padding_case, mode)
    assert verdict.ok
    assert verdict.checks
