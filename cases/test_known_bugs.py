"""Each public bug, planted, is found at the right stage by the observer that should see it, with its public id."""

import pytest

from fixtures.planted import PLANTED, Planted
from harness.case import Case
from harness.device import choose_device
from harness.finding import Verdict
from harness.judge import judge
from harness.matrix import Selection
from harness.modes import MODES

DEVICE = choose_device("auto")
SHAPES = (
    "nemotron-3-nano-30b-a3b",
    "gpt-oss-20b",
    "deepseek-v2-lite",
    "synthetic-latent-padded",
    "synthetic-2880-shared",
)
CASES = Selection(models=SHAPES, tp=(1, 2)).cases()


def shown(planted: Planted, shows: bool = True) -> list[Case]:
    """The first two cases at which the bug shows, of different models where there are; or at which it must not."""
    found = {case.model: case for case in reversed(CASES) if bool(planted.shows(case)) == shows}
    return list(found.values())[:2]


def run(planted: Planted, case: Case, mode: str) -> Verdict:
    return judge(planted, case, MODES[mode], DEVICE, planted.bug)


def pairs(shows: bool) -> list[object]:
    return [
        pytest.param(planted, case, mode, id=f"bug={planted.bug}-model={case.model}-kernel={case.kernel}-mode={mode}")
        for planted in PLANTED.values()
        for case in shown(planted, shows)
        for mode in (planted.modes if shows else ("eager", "fake-dynamic", "cudagraph"))
    ]


@pytest.mark.parametrize(("planted", "case", "mode"), pairs(shows=True))
def test_planted_bug_is_found(planted: Planted, case: Case, mode: str) -> None:
    verdict = run(planted, case, mode)
    assert verdict.status == "findings", verdict
    assert {(f.observer, f.stage) for f in verdict.findings} & planted.seen, verdict.findings
    named = " ".join(bug for finding in verdict.findings for bug in finding.bugs)
    assert planted.bug in named, verdict.findings


@pytest.mark.parametrize(("planted", "case", "mode"), pairs(shows=False))
def test_right_where_the_trigger_is_absent(planted: Planted, case: Case, mode: str) -> None:
    verdict = run(planted, case, mode)
    assert verdict.ok, verdict


def test_wide_fake_passes_eager_values_and_trace() -> None:
    """The fault that only the contract and compiled code see: eager values and the trace are fine."""
    planted = PLANTED["vllm#41645"]
    (case, *_) = shown(planted)
    assert {finding.observer for finding in run(planted, case, "eager").findings} == {"contract"}
    assert run(planted, case, "cudagraph").ok
