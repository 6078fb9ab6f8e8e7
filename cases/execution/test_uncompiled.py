"""A fake of larger elements than its op gives is told, and not compiled: such code would run over memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.faults.fakes import fake_float32
from fixtures.planting import ALIGNED_SHARED, WIDTH, Planted
from harness.execution.modes import compiled
from harness.findings.finding import Finding
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.experts import routed_experts

CPU = torch.device("cpu")


def findings(mode: str) -> list[Finding]:
    return list(judge(Planted(), ALIGNED_SHARED, MODES[mode], CPU).findings)


@pytest.mark.parametrize("mode", ["compiled", "compiled-dynamic"])
def test_larger_elements_are_told_and_not_compiled(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "recording_inductor", None)  # a compilation would call it
    with routed_experts.planted(fake=fake_float32):
        (finding,) = findings(mode)
    assert (finding.kind, finding.stage) == ("fake-differs", "routed experts")
    assert "real gives dtype bfloat16, its fake float32" in finding.what
    assert "The case was not compiled" in finding.cause


def test_eager_says_nothing_of_compiling() -> None:
    with routed_experts.planted(fake=fake_float32):
        assert all("not compiled" not in finding.cause for finding in findings("eager"))


def test_elements_that_are_no_larger_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def float16(*args: Any) -> Tensor:
        out: Tensor = args[0].new_empty(args[0].shape[0], args[WIDTH], dtype=torch.float16)
        return out

    asked: list[bool] = []
    inductor = compiled.recording_inductor
    monkeypatch.setattr(compiled, "recording_inductor", lambda graphs: asked.append(True) or inductor(graphs))
    with routed_experts.planted(fake=float16):
        assert findings("compiled")
    assert asked
