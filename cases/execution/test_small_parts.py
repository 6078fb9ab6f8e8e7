"""A symbolic trace of a layer that splits its batch: torch asks whether a part has one row, and that is no choice of the layer."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.planting import SHARED, Planted
from harness.findings.finding import OK, Verdict
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer


class InParts(PaddedMoELayer):
    """The first part and the rest of the batch are summed apart, as where one's all-reduce overlaps with the other's sum."""

    part = 2

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        rows = self.first(routed.shape[0])
        return torch.cat((routed[:rows] + shared[:rows], routed[rows:] + shared[rows:]))

    def first(self, tokens: Any) -> Any:
        return tokens // self.part


class Thirds(InParts):
    part = 3


class BranchesOnPart(InParts):
    """A branch of the layer's own asks the question that torch asks too."""

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        if routed.shape[0] // 2 == 1:
            return PaddedMoELayer.add_shared(self, routed, shared)
        return super().add_shared(routed, shared)


class EvenPart(InParts):
    """The rest is one row, or none: there is a graph for odd batches and one for even ones."""

    def first(self, tokens: Any) -> Any:
        return tokens // 2 * 2


class ColumnMajor(PaddedMoELayer):
    """A scale for each token lies column by column, whose pitch is rounded up to four tokens, and is padded by nothing."""

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        tokens = routed.shape[0]
        scales = routed.new_ones(3, (tokens + 3) // 4 * 4).t()[:tokens]
        return super().add_shared(routed * torch.nn.functional.pad(scales, (0, 0))[:, :1], shared)


def traced(layer: type[PaddedMoELayer], tokens: int = SHARED.tokens) -> Verdict:
    return judge(Planted(layer=layer), replace(SHARED, tokens=tokens), MODES["fake-dynamic"], torch.device("cpu"))


@pytest.mark.parametrize("layer", [InParts, Thirds])
def test_parts_of_a_batch_are_no_restriction(layer: type[PaddedMoELayer]) -> None:
    assert traced(layer).status == OK


def test_a_pitch_that_happens_to_be_the_token_count_is_one_and_torch_asks_for_it() -> None:
    """As torch.compile shows: 16 tokens that are marked dynamic make one graph, and 7 another."""
    (finding,) = traced(ColumnMajor, 16).findings
    assert "4*(((tokens + 3)//4))" in finding.what
    assert finding.cause.startswith("Torch asks in this line")


def test_a_branch_on_a_part_is_one() -> None:
    (finding,) = traced(BranchesOnPart).findings
    assert (finding.kind, finding.what) == ("specialised", "the trace holds only where Ne((tokens//2), 1)")
    assert finding.cause.startswith("The layer depends on the token count, by a Python branch")
    assert finding.line is not None
    assert "== 1" in finding.line.text


@pytest.mark.parametrize("tokens", [2, 3])
def test_parts_of_few_tokens_are_judged_by_a_trace_of_more(tokens: int) -> None:
    assert traced(InParts, tokens).status == OK
    assert traced(Thirds, tokens).status == OK
    assert [finding.kind for finding in traced(BranchesOnPart, tokens).findings] == ["specialised"]
    assert [finding.kind for finding in traced(EvenPart, tokens).findings] == ["specialised"]


def test_a_row_that_half_of_the_batches_have_is_one_and_torch_asks_for_it() -> None:
    (finding,) = traced(EvenPart).findings
    assert finding.what.startswith("the trace holds only where Eq(tokens - 2*((tokens//2)), 1)")
    assert "branch" not in finding.cause
    assert finding.cause.startswith("Torch asks in this line")
