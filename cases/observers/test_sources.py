"""Where a wrong value is said to come from: a row of zeros that is no NaN, and NaN that an earlier op may have given."""

import pytest
import torch
from torch import Tensor

from fixtures.faults.counts import CONTENTS
from fixtures.faults.own_routers import Alone, NoBiasForZeros, OwnRouter
from fixtures.judged import judged
from fixtures.planting import SMALL, case
from harness.findings.finding import OK
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")


class LastExpert(OwnRouter):
    """Where all logits are equal, another choice of the layer's own."""

    def forward(self, hidden_states: Tensor) -> Tensor:  # type: ignore[override]
        order = (hidden_states.float() @ self.router.T).flip(-1).sort(dim=-1, descending=True, stable=True)
        ids = self.router.shape[0] - 1 - order.indices[:, : self.top_k]
        weights = order.values[:, : self.top_k].softmax(-1)
        routed = PaddedMoELayer.forward(self, hidden_states, ids.int(), weights)
        return (routed + self.bias(hidden_states, ids, weights)).to(hidden_states.dtype)


@pytest.mark.parametrize("layer", [OwnRouter, LastExpert])
def test_an_own_router_may_choose_any_of_equal_experts(layer: type[OwnRouter]) -> None:
    assert judge(Alone(layer=layer), SMALL, MODES[CONTENTS], CPU).status == OK


def test_a_row_of_zeros_that_is_wrong_and_finite_is_not_called_nan() -> None:
    finding = judge(Alone(layer=NoBiasForZeros), SMALL, MODES[CONTENTS], CPU).findings[0]
    assert finding.cause.startswith("A row of zeros is taken for padding")


class MixesBehindExperts(PaddedMoELayer):
    """A product over all rows whose output begins with the experts, so that none of its rows is a token's."""

    def dense(self, x: Tensor) -> Tensor:
        tokens = x.shape[0]
        whole = torch.eye(tokens, dtype=x.dtype).expand(3, tokens, tokens)
        return super().dense(torch.bmm(whole, x.expand(3, *x.shape)).sum(0) / 3)


def test_nan_that_an_earlier_op_may_have_given_is_not_said_to_appear_first() -> None:
    finding = next(
        finding
        for finding in judged(MixesBehindExperts, case("small", tokens=7), "cudagraph-dynamic").findings
        if finding.kind == "padding-tokens-leak"
    )
    assert "NaN first appeared" not in finding.what
    assert "NaN is seen in the output of aten::sum, rows 0-6 of 8, and may come from an op before it" in finding.what
