"""Autocast beside activations of eight bits: its rounding becomes a step of e4m3, and a fault is still larger than that."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fixtures.planting import SMALL
from harness.execution.difference import TOLERANCE, errors
from harness.execution.modes.varied.beside.rounding import MOVED
from harness.findings.finding import SKIPPED, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.verdict.judge import judge

CPU = torch.device("cpu")


def to_eight_bits(x: Tensor) -> Tensor:
    """Rounded to float8_e4m3fn with a scale for each token."""
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-10) / 448
    return (x / scale).to(torch.float8_e4m3fn).to(x.dtype) * scale


class EightBits(nn.Module):
    """Two products whose inputs are rounded to eight bits, or to sixteen. The weights are those of eight bits."""

    def __init__(self, hidden: int, eight: bool = True, factor: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(hidden)
        up, down = (torch.randn(hidden, hidden, generator=generator) / hidden**0.5 for _ in range(2))
        self.up, self.down, self.eight, self.factor = to_eight_bits(up), to_eight_bits(down), eight, factor

    def forward(self, hidden_states: Tensor) -> Tensor:
        rounded = to_eight_bits if self.eight else lambda x: x
        inner = (rounded(hidden_states.float()) @ self.up).relu().square().bfloat16().float()
        out = rounded(inner) @ self.down
        factor = self.factor if torch.is_autocast_enabled(hidden_states.device.type) else 1.0
        return (out.float() * factor).to(hidden_states.dtype)


class Subject:
    """A subject of such a layer. Its oracle rounds as the layer does, in fp32."""

    def __init__(self, eight: bool = True, factor: float = 1.0) -> None:
        self.eight, self.factor = eight, factor

    def build(self, case: Case, device: torch.device) -> EightBits:
        return EightBits(case.hidden, self.eight, self.factor)

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, ...]:
        return (torch.randn(tokens, case.hidden, generator=torch.Generator().manual_seed(seed)).bfloat16(),)

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> Tensor:
        return EightBits(case.hidden, self.eight).forward(inputs[0].float())

    def ops(self, case: Case) -> tuple[str, ...]:
        return ()


def under_autocast(subject: Subject) -> Verdict:
    return judge(subject, SMALL, replace(MODES["varied-surroundings"], vary=("torch=autocast",)), CPU)


def test_a_rounding_that_becomes_a_step_of_eight_bits_is_no_finding() -> None:
    (inputs,) = Subject().inputs(SMALL, 264, 0, CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = EightBits(SMALL.hidden)(inputs)
    error, _ = errors(output, Subject().oracle(SMALL, (inputs,)))
    assert float(error.max()) > TOLERANCE
    verdict = under_autocast(Subject())
    assert (verdict.status, verdict.findings) == (SKIPPED, ())
    assert MOVED in verdict.reason


@pytest.mark.parametrize(("eight", "factor"), [(True, 2.0), (True, 1.25), (False, 1.1)])
def test_another_path_under_autocast_is_one(eight: bool, factor: float) -> None:
    (finding,) = under_autocast(Subject(eight, factor)).findings
    assert finding.kind == "torch-mode"
    assert "autocast" in finding.what
