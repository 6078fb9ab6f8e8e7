"""A device that is lost costs one case: it is a finding, and the worker is replaced."""

from typing import Any

import pytest
import torch

from fixtures.judged import judged
from fixtures.planting import SMALL, Planted
from harness.execution import rig as rig_module
from harness.execution.device import loss
from harness.findings.finding import DEVICE_LOST, FINDINGS, OK
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.selection import Selection
from harness.verdict import judge as judge_module
from harness.verdict.judge import judge
from harness.workers.plan import Plan, PlanRun
from harness.workers.pool import LAST, Pool
from harness.workers.process import Job
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

pytestmark = pytest.mark.usefixtures("forked_python")

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


@pytest.mark.parametrize("mode", ["eager", "cudagraph"])
@pytest.mark.parametrize("known", ["judge", "rig"])
def test_a_lost_device_names_the_line_that_raised_where_cuda_waits(
    known: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    monkeypatch.setattr(judge_module, "loss", lambda _: ILLEGAL)
    if known == "rig":  # as soon as a call raises
        monkeypatch.setattr(rig_module, "loss", lambda _: ILLEGAL)
    (finding,) = judged(Raises, SMALL, mode).findings
    assert finding.kind == DEVICE_LOST
    assert finding.line is not None
    assert finding.line.text == "raise RuntimeError(ILLEGAL)"
    assert "CUDA_LAUNCH_BLOCKING" not in finding.cause


def test_a_device_that_works_is_not_lost() -> None:
    assert loss(CPU) == ""
    assert judge(InTree(), _case(), MODES["eager"], CPU).status == OK


def answers(settings: dict[str, Any]) -> Any:
    """In a worker: tells its process, and that it is at its end after task 1."""
    import os

    return lambda task: {"process": os.getpid()} | ({LAST: True} if task == 1 else {})


def test_a_worker_at_its_end_is_replaced_and_no_task_is_lost() -> None:
    replies = list(Pool(Job("cases.execution.test_device:answers", {}), [[0, 1, 2, 3]], 1, same=lambda task: task))
    assert [reply.task for reply in replies] == [0, 1, 2, 3]
    told = [reply.answer for reply in replies]
    assert all(answer is not None and set(answer) == {"process"} for answer in told)
    first, second, third, fourth = (answer["process"] for answer in told if answer)
    assert first == second != third == fourth


class AssertsOnDevice(PaddedMoELayer):
    """Reads a row that is not there: torch's kernel asserts."""

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.full((1,), 1 << 40, device=x.device)
        return super().scale(x) + 0 * x[rows]


class ReachesBeyond(PaddedMoELayer):
    """An illegal access, of which CUDA tells at the next wait."""

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        from fixtures.beyond import write_beyond  # imports triton

        write_beyond[(1,)](x)
        return super().scale(x)


ASSERTS, REACHES = Planted(layer=AssertsOnDevice), Planted(layer=ReachesBeyond)
LOST = {"ASSERTS": "device-side assert triggered", "REACHES": "an illegal memory access was encountered"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("subject", LOST)
def test_a_fault_of_the_device_costs_its_cases_alone(subject: str) -> None:
    """Each case gets a worker of its own after it, and what comes then is judged as ever."""
    selection = Selection(models=("nemotron-3-nano-30b-a3b",), modes=("eager",), rules=("trtllm-nvfp4",))
    for name in (f"cases.execution.test_device:{subject}", "kernels.layer.subject:InTree"):
        verdicts = list(PlanRun(Plan(selection, name, name, "cuda", 1, (".",))))
        assert len(verdicts) == len(selection.tasks()) > 1
        found = [finding for verdict in verdicts for finding in verdict.findings]
        if name == "kernels.layer.subject:InTree":
            assert found == []
        else:
            assert {finding.kind for finding in found} == {DEVICE_LOST}
            assert all(LOST[subject] in finding.what for finding in found)
            assert len(found) == len(verdicts)
