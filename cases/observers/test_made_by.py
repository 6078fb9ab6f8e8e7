"""What a finding says that made a width: the op that did, as a record shows, and nothing where none does."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.judged import judged
from fixtures.planting import SHARED, SMALL, Planted, case
from harness.execution import stages
from harness.execution.evidence import Record, Run
from harness.findings.finding import Finding, WidthOrigin
from harness.findings.origins import named
from harness.matrix.modes import MODES
from harness.matrix.variations import with_variations
from harness.ops.tensor_meta import TensorMeta
from harness.output.report import finding_text
from harness.verdict.judge import judge
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer

NARROW = case("small-shared", "narrow")
FIVE = ("eager", "fake", "fake-dynamic", "compiled", "compiled-dynamic")


class CutBySplit(PaddedMoELayer):
    """Right for a kernel that writes the padded width, and too long for one that writes the true width."""

    def unpad(self, x: Tensor) -> Tensor:
        """Two parts, of which the second is the padding."""
        return x.split([self.width, self.padded - self.width], dim=-1)[0]


def widths(finding: Finding) -> dict[str, str]:
    return {
        one.text.partition(" ")[0]: f"{one.stage} {one.line.text if one.line else ''}".strip() for one in finding.widths
    }


@pytest.mark.parametrize("mode", FIVE)
def test_the_op_that_made_a_width_and_not_the_cut_that_raised(mode: str) -> None:
    (finding,) = judged(CutBySplit, NARROW, mode).findings
    assert finding.stage == stages.UNPAD
    made = widths(finding)
    assert made[str(NARROW.width)].startswith(stages.EXPERTS)
    assert made[str(NARROW.padded)].startswith(f"{stages.PAD} return x if self.padded == self.width")


def made(op: str, stage: str, width: int) -> Record:
    return Record(op, stage, None, (), (), False, outputs=(TensorMeta.of(torch.empty(7, width)),))


def test_no_op_is_told_where_several_made_as_many_columns() -> None:
    run = Run(case=SMALL, mode="eager", ops=())
    one, other = made("aten::mm", stages.SHARED, 192), made("aten::cat", stages.EXPERTS, 192)
    assert named(run, [one], None, 192) == WidthOrigin("192", stages.SHARED, None)
    assert named(run, [one, other], None, 192) == WidthOrigin("192", "", None)
    assert named(run, [one, other], None, 208) == WidthOrigin("208", "", None)


class AsksForAView:
    """What an op does that asks for memory of other sizes than there are."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes

    def __call__(self, x: Tensor, *args: Any) -> Tensor:
        """Too many elements."""
        return x[:1].reshape(2, *self.sizes)


@pytest.mark.parametrize(("size", "told"), [(48, {}), (SHARED.padded, {"128": stages.PAD})])
def test_a_size_of_memory_inside_an_op_is_a_width_where_rows_have_it(size: int, told: dict[str, str]) -> None:
    with routed_experts.planted(real=AsksForAView(2, size)):
        finding = judged(PaddedMoELayer, SHARED).findings[0]  # whose shared expert is 48 wide inside
    assert finding.kind == "op-raised"
    assert {name: place.partition(" return")[0] for name, place in widths(finding).items()} == told


class OnlyWide(PaddedMoELayer):
    """Takes no batch of more than 2,000 rows of the narrowest width."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        """As many columns twice."""
        if len(x) > 20_000:
            x = x + x.new_zeros(self.width)
        return super().run_experts(x, topk_ids, topk_weights)


def test_the_widths_of_a_narrower_layer_are_told_as_its_own() -> None:
    (chosen,) = with_variations([MODES["varied-tokens"]], ("tokens=32770",))
    (finding,) = judge(Planted(layer=OnlyWide), SHARED, chosen, torch.device("cpu")).findings
    assert [one.text for one in finding.widths] == ["64 = 48 rounded up to 32", "48 = hidden"]
    assert "(a layer as narrow as can be: a width of 48, padded to 64)" in finding.cause


def test_a_width_without_an_origin_is_the_width_alone() -> None:
    verdict = judged(CutBySplit, NARROW, "eager")
    finding = replace(verdict.findings[0], widths=(WidthOrigin("80 = hidden", "", None),))
    assert "  width       80 = hidden\n" in finding_text(verdict, finding)
