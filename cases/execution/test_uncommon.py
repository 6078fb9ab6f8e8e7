"""What a finding says where a row's contents, and not the number of rows, make a layer wrong; and which errors are no refusal."""

from typing import Any

import torch
from torch import Tensor

from fixtures.corpus import CORRECT, FAULTS
from fixtures.planting import SMALL, Planted
from harness.findings.finding import OK, Finding, Verdict
from harness.matrix.modes import MODES
from harness.matrix.variations import LARGEST_BATCH
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
FIRST_ROWS = 60


def judged(subject: Any, mode: str) -> Verdict:
    return judge(subject, SMALL, MODES[mode], CPU)


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


class WrongWithoutSomeExpert(PaddedMoELayer):
    """Twice as large where some expert has no token."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        experts = torch.arange(self.w13.shape[0])
        missing = (topk_ids.reshape(-1, 1) != experts).all(0).any()
        return super().run_experts(x, topk_ids, topk_weights * (1 + missing.float()))


class WrongAboveLimit(PaddedMoELayer):
    """Twice as large for a row that holds more than the first rows of every batch do."""

    limit = torch.inf

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        above = (x.abs().amax(-1, keepdim=True) > self.limit).float() if x.numel() else 0.0
        return super().run_experts(x, topk_ids, topk_weights * (1 + above))


def test_one_token_is_not_blamed_where_its_row_alone_is_wrong() -> None:
    finding = only(judged(Planted(layer=WrongWithoutSomeExpert), "eager"))
    assert finding.kind == "few-tokens"
    assert "some experts get no token" in finding.cause
    assert "so it is the batch size" not in finding.cause


def test_a_row_that_is_wrong_among_few_is_a_matter_of_contents() -> None:
    largest = Planted().inputs(SMALL, LARGEST_BATCH, 0, CPU)[0].abs().amax(-1)

    class Layer(WrongAboveLimit):
        limit = float(largest[:FIRST_ROWS].max())

    finding = only(judged(Planted(layer=Layer), "varied-tokens"))
    assert finding.kind == "input-contents"
    assert "is wrong in a batch of 7 tokens too" in finding.what
    assert "not the number of tokens" in finding.cause


def test_an_error_for_no_expert_at_all_is_no_refusal_where_one_row_is_taken() -> None:
    (fault,) = (entry for entry in FAULTS if entry.id == "generic#least-active")
    finding = only(judged(fault.subject, "varied-contents"))
    assert finding.kind == "op-raised"
    assert finding.vary == "content=minus-one-all"
    (refuses,) = (entry for entry in CORRECT if entry.id == "right#refuses-missing")
    assert judged(refuses.subject, "varied-contents").status == OK
