"""Wrong tokens that are those with an id below zero, which names no expert, are told as these, and others are not."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.planting import REAL, SHARED, Planted
from harness.execution import stages
from harness.execution.passed_on import Notes, note_routing, noting
from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer

FIRST, LAST = 2, 4
SAID = "They are the tokens with an id below zero"


class Filled(Planted):
    """The subject of a batch whose rows 2 and 3 name no expert."""

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """As usual, with -1 as each id of these rows."""
        hidden, ids, weights = super().inputs(case, tokens, seed, device)
        ids[FIRST:LAST] = -1
        return hidden, ids, weights


class LastExpert(PaddedMoELayer):
    """Takes the id as an index, so that -1 is the last expert; and is wrong in more rows, if it should be."""

    more = 0

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        """By an index."""
        out = super().run_experts(x, topk_ids % self.w13.shape[0], topk_weights)
        return torch.cat((out[: self.more] * 2, out[self.more :])) if self.more else out


def takes_the_last(x: Tensor, ids: Tensor, weights: Tensor, *others: Any) -> Tensor:
    names = torch.arange(others[0].shape[0])
    return REAL(x, names[ids.long()].int(), weights, *others)


class AndTheFirst(LastExpert):
    """Wrong in the first row too."""

    more = 1


def found(layer: type[PaddedMoELayer]) -> Finding:
    return judge(Filled(layer=layer), SHARED, MODES["eager"], torch.device("cpu")).findings[0]


def test_the_wrong_tokens_are_told_as_those_without_an_expert() -> None:
    finding = found(LastExpert)
    assert (finding.kind, finding.stage) == ("wrong-tokens", stages.EXPERTS)
    assert f"Tokens {FIRST}-{LAST - 1} are wrong" in finding.cause
    assert SAID in finding.cause


def test_the_line_is_told_that_takes_the_id_for_an_index() -> None:
    with routed_experts.planted(real=takes_the_last):
        cause = found(PaddedMoELayer).cause
    line = takes_the_last.__code__.co_firstlineno + 2
    assert cause.endswith(f"An index below zero is taken from the end at cases/observers/test_no_expert.py:{line}.")
    assert "from the end" not in found(LastExpert).cause


def test_other_wrong_tokens_are_not() -> None:
    assert SAID not in found(AndTheFirst).cause


def test_a_layer_that_adds_nothing_there_is_right() -> None:
    assert judge(Filled(), SHARED, MODES["eager"], torch.device("cpu")).ok


@pytest.mark.parametrize(("rows", "known"), [(3, [False, True, False]), (4, None)])
def test_rows_without_an_expert_are_those_of_the_router(rows: int, known: Any) -> None:
    assert Notes().without_expert(rows) is None
    with noting() as notes:
        note_routing("selected", torch.ones(2, 1), torch.tensor([[0], [-1]]))
        note_routing("selected", torch.ones(1, 1), torch.tensor([[3]]))
    found = notes.without_expert(rows)
    assert (found.tolist() if found is not None else None) == known
