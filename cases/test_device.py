"""A device that is lost costs one case: it is a finding, and the worker is replaced."""

from typing import Any

import pytest
import torch

from fixtures.judged import judged
from fixtures.planting import SMALL
from harness import judge as judge_module
from harness.case import Case
from harness.device import loss
from harness.finding import DEVICE_LOST, FINDINGS, OK
from harness.judge import judge
from harness.matrix import Selection
from harness.modes import MODES
from harness.pool import LAST, Pool
from harness.process import Job
from kernels.layer import PaddedMoELayer
from kernels.subject import InTree

CPU = torch.device("cpu")
ILLEGAL = "CUDA error: an illegal memory access was encountered"


def _case() -> Case:
    return next(iter(Selection(models=("nemotron-3-nano-30b-a3b",)).cases()))


def test_a_lost_device_is_the_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "loss", lambda _: ILLEGAL)
    verdict = judge(InTree(), _case(), MODES["eager"], CPU)
    assert (verdict.status, verdict.reason) == (FINDINGS, "")
    (finding,) = verdict.findings
    assert (finding.kind, finding.what, finding.line) == (DEVICE_LOST, ILLEGAL, None)
    assert "CUDA_LAUNCH_BLOCKING=1" in finding.cause


class Raises(PaddedMoELayer):
    def scale(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(ILLEGAL)


def test_a_lost_device_names_the_line_that_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "loss", lambda _: ILLEGAL)
    (finding,) = judged(Raises, SMALL).findings
    assert finding.kind == DEVICE_LOST
    assert finding.line is not None
    assert finding.line.text == "raise RuntimeError(ILLEGAL)"


def test_a_device_that_works_is_not_lost() -> None:
    assert loss(CPU) == ""
    assert judge(InTree(), _case(), MODES["eager"], CPU).status == OK


def answers(settings: dict[str, Any]) -> Any:
    """In a worker: tells its process, and that it is at its end after task 1."""
    import os

    return lambda task: {"process": os.getpid()} | ({LAST: True} if task == 1 else {})


def test_a_worker_at_its_end_is_replaced_and_no_task_is_lost() -> None:
    replies = list(Pool(Job("cases.test_device:answers", {}), [[0, 1, 2, 3]], 1, same=lambda task: task))
    assert [reply.task for reply in replies] == [0, 1, 2, 3]
    told = [reply.answer for reply in replies]
    assert all(answer is not None and set(answer) == {"process"} for answer in told)
    first, second, third, fourth = (answer["process"] for answer in told if answer)
    assert first == second != third == fourth


class ReachesBeyond(InTree):
    """The layer with a planted illegal access, which CUDA tells of at the next wait."""

    def build(self, case: Case, device: torch.device) -> Any:
        layer = super().build(case, device)
        scale = layer.scale

        def scaled(x: torch.Tensor) -> torch.Tensor:
            rows = torch.full((1,), 1 << 40, device=x.device)
            return scale(x) + 0 * x[rows]

        layer.scale = scaled
        return layer


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_illegal_access_costs_its_cases_alone() -> None:
    from harness.judging import Judging, Plan

    selection = Selection(models=("nemotron-3-nano-30b-a3b",), modes=("eager",))
    for subject, kinds in {"cases.test_device:ReachesBeyond": {DEVICE_LOST}, "kernels.subject:InTree": set()}.items():
        verdicts = list(Judging(Plan(selection, subject, subject, "cuda", 1, (".",))))
        assert len(verdicts) == len(selection.tasks())
        assert {finding.kind for verdict in verdicts for finding in verdict.findings} == kinds
