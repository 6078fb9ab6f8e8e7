"""A limit on tokens: of the batch, of one expert, or of either where the run cannot tell them apart."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fixtures.planting import SMALL, Planted
from harness.execution.modes.varied.beside.one_expert import busiest, of_one_token
from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
EVERY_EXPERT = replace(SMALL, shape=replace(SMALL.shape, top_k=SMALL.experts), top_k=SMALL.experts)


class ForgetsLateTokensOfAnExpert(PaddedMoELayer):
    """Each expert has room for so many tokens, as by a slot in a type that cannot count more."""

    room = 40

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        for expert in range(int(topk_ids.max()) + 1):
            named = topk_ids == expert
            late = named.any(-1).cumsum(0) > self.room
            topk_weights = topk_weights * ~(named & late[:, None])
        return super().run_experts(x, topk_ids, topk_weights)


class ForgetsLateTokens(PaddedMoELayer):
    room = 70

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        late = torch.arange(len(x)) >= self.room
        return super().run_experts(x, topk_ids, topk_weights * ~late[:, None])


def token_count(layer: type[PaddedMoELayer], case: Case = SMALL, vary: tuple[str, ...] = ()) -> Finding:
    verdict = judge(Planted(layer=layer), case, replace(MODES["varied-tokens"], vary=vary), CPU)
    return next(one for one in verdict.findings if one.kind == "token-count")


@pytest.mark.parametrize(
    ("layer", "whose"), [(ForgetsLateTokensOfAnExpert, "one expert"), (ForgetsLateTokens, "the batch")]
)
def test_whose_tokens_a_limit_counts_is_told_in_the_run_and_in_its_reproduction(
    layer: type[PaddedMoELayer], whose: str
) -> None:
    finding = token_count(layer)
    assert f"the number of tokens of {whose} that matters" in finding.cause
    assert token_count(layer, vary=(finding.vary,)).cause == finding.cause


@pytest.mark.parametrize("layer", [ForgetsLateTokens, ForgetsLateTokensOfAnExpert])
def test_both_are_named_where_each_token_goes_to_every_expert(layer: type[PaddedMoELayer]) -> None:
    assert "of the batch or of one expert" in token_count(layer, EVERY_EXPERT).cause


def test_the_busiest_expert_is_known_by_ids_or_logits() -> None:
    rows, ids = torch.zeros(3, 80), torch.tensor([[0, 1], [0, -1], [2, 0]])
    assert busiest(SMALL, (rows, ids, torch.ones(3, 2))) == 3
    logits = torch.eye(3) + torch.tensor([0.0, 0.0, 0.5])
    assert (SMALL.experts, SMALL.top_k) == (3, 2)
    assert busiest(SMALL, (rows, logits)) == 3
    assert busiest(SMALL, (rows,)) == 0
    assert busiest(SMALL, (rows, torch.full((3, 2), -1))) == 0
    assert [part.shape for part in of_one_token((rows, ids), 5)] == [(5, 80), (5, 2)]
