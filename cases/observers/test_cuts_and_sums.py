"""A cut that moves padding into rows, rows that no all-reduce sums, and what follows from a fake that returns its input."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.correct.ops import BOTH, WIDTH, SharedByOp
from fixtures.correct.ops import _both as both
from fixtures.faults.kernels import writes_hidden_states
from fixtures.judged import judged
from fixtures.planting import ALIGNED_SHARED, REAL, SHARED, SHARED_TWO, SMALL, SMALL_TWO, Planted
from fixtures.planting import case as case_of
from harness.execution import stages
from harness.execution.evidence import Run
from harness.findings.finding import Finding
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.observers.collectives import _count_cause
from harness.subjects.declared import Declared
from harness.verdict.judge import judge
from harness.verdict.known_bugs import name_bugs
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
SCALED = case_of("nemotron-3-nano-30b-a3b")  # by 2.5


class FlatCut(PaddedMoELayer):
    """The padding is dropped at the end of the buffer."""

    def unpad(self, x: Tensor) -> Tensor:
        return x.flatten()[: x.shape[0] * self.width].view(-1, self.width)


class CopiedFlatCut(PaddedMoELayer):
    """The same in memory of its own."""

    def unpad(self, x: Tensor) -> Tensor:
        return x.flatten()[: x.shape[0] * self.width].clone().view(-1, self.width)


class WrongPitch(PaddedMoELayer):
    """The rows are taken for wider ones by a block of 16 fewer columns."""

    def unpad(self, x: Tensor) -> Tensor:
        return x.as_strided((x.shape[0], self.width), (self.padded - 16, 1))


def values_of(layer: type[PaddedMoELayer], case: Case, mode: str = "eager") -> Finding:
    return next(one for one in judged(layer, case, mode).findings if one.observer == "values")


@pytest.mark.parametrize("layer", [FlatCut, CopiedFlatCut, WrongPitch])
@pytest.mark.parametrize("mode", ["eager", "cudagraph"])
def test_a_cut_of_other_rows_is_the_unpads(layer: type[PaddedMoELayer], mode: str) -> None:
    finding = values_of(layer, SHARED, mode)
    assert (finding.kind, finding.stage) == ("wrong-columns", stages.UNPAD)
    assert "Tokens 1-6 of 7 are wrong" in finding.cause
    assert finding.line is not None
    assert any(word in finding.line.text for word in ("view", "as_strided"))


@pytest.mark.parametrize("layer", [FlatCut, WrongPitch])
def test_nan_that_a_view_moves_first_appears_in_the_view(layer: type[PaddedMoELayer]) -> None:
    finding = next(one for one in judged(layer, SHARED).findings if one.kind == "padding-leaks")
    assert "NaN first appeared in the output of aten::" in finding.what
    assert finding.line is not None
    assert "x.flatten()" in finding.line.text or "as_strided" in finding.line.text


class WrongExperts(PaddedMoELayer):
    """The experts are wrong, and a wrong cut beside them is used for nothing."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        return super().run_experts(x, topk_ids.flip(0), topk_weights)

    def unpad(self, x: Tensor) -> Tensor:
        x.flatten()[: x.shape[0] * self.width].view(-1, self.width)
        return super().unpad(x)


def test_wrong_experts_are_not_the_cuts() -> None:
    assert values_of(WrongExperts, SHARED).stage == stages.EXPERTS


class LastRowAlone(PaddedMoELayer):
    """Two halves are summed, and the last of an odd number of rows is not."""

    def reduce(self, x: Tensor) -> Tensor:
        if self.tp == 1 or x.shape[0] < 2:
            return super().reduce(x)
        half = x.shape[0] // 2
        halves = [PaddedMoELayer.reduce(self, x[start : start + half]) for start in (0, half)]
        return torch.cat([*halves, x[2 * half :]])


class FirstRowKept(PaddedMoELayer):
    """All rows are summed, and the first is then taken from before."""

    def reduce(self, x: Tensor) -> Tensor:
        return torch.cat([x[:1], super().reduce(x)[1:]])


class HalfExperts(PaddedMoELayer):
    """The last row of the output is half before the sum."""

    def dense(self, x: Tensor) -> Tensor:
        return torch.cat([x[:-1], x[-1:] / self.tp])


@pytest.mark.parametrize("layer", [LastRowAlone, FirstRowKept])
@pytest.mark.parametrize("case", [SMALL_TWO, SHARED_TWO])
def test_rows_that_are_not_summed_are_the_all_reduces(layer: type[PaddedMoELayer], case: Case) -> None:
    finding = values_of(layer, case)
    assert finding.stage == stages.REDUCE
    assert "The wrong rows are this rank's own part, 1/2 of what they should be" in finding.cause


def test_rows_that_are_half_before_the_sum_are_not() -> None:
    finding = values_of(HalfExperts, SMALL_TWO)
    assert finding.stage != stages.REDUCE
    assert "own part" not in finding.cause


def test_rows_of_large_batches_that_are_not_summed_are_no_tiles() -> None:
    class Layer(LastRowAlone):
        def reduce(self, x: Tensor) -> Tensor:
            return super().reduce(x) if x.shape[0] > 64 else PaddedMoELayer.reduce(self, x)

    verdict = judge(Planted(layer=Layer), SMALL_TWO, replace(MODES["varied-tokens"], vary=("tokens=65",)), CPU)
    finding = next(one for one in verdict.findings if one.kind == "token-count")
    assert finding.stage == stages.REDUCE
    assert "tile" not in finding.cause


def test_the_cause_of_an_alias_in_a_fake_is_of_aliases() -> None:
    def fake(x: Tensor, *rest: Any) -> Tensor:
        return x

    with routed_experts.planted(fake=fake):
        finding = next(one for one in judged(PaddedMoELayer, ALIGNED_SHARED).findings if one.kind == "fake-differs")
    assert "returns memory of" in finding.what
    assert "takes the output for memory of that argument" in finding.cause
    assert "output wrongly" not in finding.cause


def test_a_stride_in_a_fake_is_read_wrongly() -> None:
    def fake(x: Tensor, *rest: Any) -> Tensor:
        return x.new_empty(x.shape[1], x.shape[0]).t()

    with routed_experts.planted(fake=fake):
        finding = next(one for one in judged(PaddedMoELayer, ALIGNED_SHARED).findings if one.kind == "fake-differs")
    assert "it would read the routed experts' output wrongly" in finding.cause
    assert "test_cuts_and_sums.py" in finding.cause.rpartition("The fake makes it in ")[2]
    assert finding.cause.endswith("return x.new_empty(x.shape[1], x.shape[0]).t()")


def writes_weights(*args: Any) -> Tensor:
    """Overwrites the routing weights."""
    out: Tensor = REAL(*args)
    args[2].zero_()
    return out


@pytest.mark.parametrize(
    ("real", "case", "known"),
    [
        (writes_hidden_states, ALIGNED_SHARED, True),
        (writes_hidden_states, SHARED, False),  # a padded copy
        (writes_weights, ALIGNED_SHARED, False),
    ],
)
def test_a_relative_of_overwritten_hidden_states_fits_the_argument(real: Any, case: Case, known: bool) -> None:
    with routed_experts.planted(real=real):
        finding = next(one for one in judged(PaddedMoELayer, case).findings if one.kind == "mutated-input")
    assert any("#28942" in bug for bug in finding.similar_to) == known


@pytest.mark.parametrize(("shared", "known"), [(1.0, True), (2.5, False)])
def test_a_relative_of_a_scaling_applied_twice_has_the_shared_part_right(shared: float, known: bool) -> None:
    detail = {"factors": {"routed": 2.5, "shared": shared}}
    finding = Finding(observer="values", kind="scaled", stage=stages.SCALING, what="", cause="", detail=detail)
    assert any("#45037" in bug for bug in name_bugs(finding, SCALED).similar_to) == known


@pytest.mark.parametrize(("layer_of", "told"), [("", True), ("vLLM", False)])
def test_only_who_can_declare_is_told_to(layer_of: str, told: bool) -> None:
    run = Run(case=SMALL_TWO, mode="eager", ops=(), declared=Declared(layer_of=layer_of))
    assert all(("declare" in _count_cause(run, count, 1)) == told for count in (0, 2))


class RefusesMany(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        return super().run_experts(x, topk_ids, topk_weights * torch.ones(64)[: x.shape[0], None])


class OfEngine(Planted):
    """A subject of the harness's own for an engine's layer."""

    layer_of = "an engine"


@pytest.mark.parametrize(("subject", "told"), [(Planted, True), (OfEngine, False)])
def test_a_limit_is_declared_by_its_owner_alone(subject: type[Planted], told: bool) -> None:
    verdict = judge(subject(layer=RefusesMany), SMALL, replace(MODES["varied-tokens"], vary=("tokens=65",)), CPU)
    assert any("tokens<=" in one.cause for one in verdict.findings) == told


class InPlace(PaddedMoELayer):
    """Scales, and adds the shared part to, the view that the cut of the padding gave."""

    def scale(self, x: Tensor) -> Tensor:
        return x.mul_(self.scaling)

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        return routed if shared is None else routed.add_(shared)

    def dense(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("mode", ["eager", "fake", "fake-dynamic", "compiled"])
@pytest.mark.parametrize(("case", "ops"), [(SMALL_TWO, ("mul_",)), (SHARED_TWO, ("mul_", "add_"))])
def test_what_keeps_the_strides_of_a_cut_is_told_beside_it(case: Case, ops: tuple[str, ...], mode: str) -> None:
    finding = judged(InPlace, case, mode).findings[0]
    assert finding.kind == "not-contiguous"
    assert finding.cause.startswith("The slice at kernels/layer/layer.py:")
    written = re.findall(r"(\w+_) at cases/observers/test_cuts_and_sums.py:\d+", finding.cause)
    assert tuple(written) == ops
    assert ("write into" if len(ops) > 1 else "writes into") in finding.cause


@pytest.mark.parametrize(
    ("wrong", "whose", "line"),
    [(0, "the shared expert's", "first = torch.empty_like("), (1, "the routed experts'", "second = rows.new_empty(")],
)
def test_the_line_of_a_fake_that_makes_the_wrong_output_is_told_with_whose_it_is(
    wrong: int, whose: str, line: str
) -> None:
    dtypes = [torch.float32 if place == wrong else torch.bfloat16 for place in range(2)]

    def fake(shared: Tensor, rows: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        first = torch.empty_like(shared, dtype=dtypes[0])
        second = rows.new_empty(rows.shape[0], rest[WIDTH - 1], dtype=dtypes[1])
        return first, second

    with both.planted(fake=fake):
        verdict = judge(Planted(layer=SharedByOp, op=f"{BOTH}[1]"), SHARED, MODES["eager"], CPU)
    finding = next(one for one in verdict.findings if one.kind == "fake-differs")
    assert f"it would read {whose} output wrongly. The fake makes it in " in finding.cause
    assert line in finding.cause
