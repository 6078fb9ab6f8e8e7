"""What a finding says of its causes: a factor by its name, a part by its stage, and nothing that a fresh layer disproves."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.correct.ops import BOTH, WIDTH, SharedByOp
from fixtures.correct.ops import _both as both
from fixtures.faults.fakes import fake_fixes_tokens
from fixtures.faults.unpad import Shifted
from fixtures.gate import Gated, GatedLayer
from fixtures.judged import judged
from fixtures.planting import (
    ALIGNED_SHARED,
    LATENT_TWO,
    REAL,
    SHARED,
    SHARED_TWO,
    SMALL,
    SMALL_TWO,
    Planted,
    case,
    with_op,
)
from harness.base.exception_text import first_line
from harness.execution import stages
from harness.execution.difference import Difference, Spread, compare
from harness.execution.passed_on import note_routing
from harness.findings.finding import Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.observers.factors import by_token, names_of, number, reduced_less
from harness.observers.values import diagnose
from harness.ops.collectives import all_reduce, is_collective, is_reduction
from harness.ops.registry import register_op
from harness.ops.tensor_meta import TensorMeta
from harness.verdict.judge import judge
from kernels.layer.experts import SCHEMA
from kernels.layer.layer import PaddedMoELayer

SCALED = case("nemotron-3-nano-30b-a3b")  # scaling 2.5, two ranks below
CPU = torch.device("cpu")


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


def scaled_by(factor: float, part: str, case: Case) -> Finding:
    class Layer(PaddedMoELayer):
        def scale(self, x: Tensor) -> Tensor:
            return super().scale(x) * (factor if part == "routed" else 1)

        def shared_output(self, hidden_states: Tensor) -> Tensor | None:
            out = super().shared_output(hidden_states)
            return out * factor if out is not None and part == "shared" else out

    return only(judged(Layer, case))


@pytest.mark.parametrize(
    ("part", "factor", "case", "stage", "text"),
    [
        (
            "shared",
            1 / 2.5,
            SCALED,
            stages.SHARED,
            "and 0.4 = 1/scaling, as if this part was divided by the routed scaling",
        ),
        (
            "shared",
            2.5,
            SCALED,
            stages.SHARED,
            "and 2.5 = scaling, as if the routed scaling factor was applied to this",
        ),
        ("routed", 2.5, SCALED, stages.SCALING, "and 2.5 = scaling, as if the routed scaling factor was applied twice"),
        ("shared", 2, SHARED_TWO, stages.SHARED, "and 2 = tp, as if it is whole on each rank and then summed"),
        ("routed", 2, SHARED_TWO, stages.REDUCE, "and 2 = tp, as if this part was reduced twice"),
        ("routed", 0.5, SHARED_TWO, stages.REDUCE, "and 0.5 = 1/tp, as if this part was not reduced"),
        ("shared", 0.5, SHARED_TWO, stages.REDUCE, "and 0.5 = 1/tp, as if this part was not reduced"),
        ("shared", 0.25, SHARED, stages.SHARED, "and 0.25 = 1/sqrt(16)."),
        ("shared", 6.25, SCALED, stages.SHARED, "and 6.25 = scaling^2."),
        ("routed", 0.16, SCALED, stages.SCALING, "and 0.16 = 1/scaling^2."),
        ("shared", 1.7, SHARED, stages.SHARED, "The shared part is 1.7 times what it should be."),
    ],
)
def test_a_factor_is_named_at_the_stage_of_its_part(
    part: str, factor: float, case: Case, stage: str, text: str
) -> None:
    finding = scaled_by(factor, part, case)
    assert (finding.kind, finding.stage) == ("scaled", stage)
    assert text in finding.cause


def test_latent_rows_that_are_twice_too_large_may_be_normalised_before_their_sum() -> None:
    twice = scaled_by(2, "routed", LATENT_TWO)
    assert (twice.kind, twice.stage) == ("scaled", stages.REDUCE)
    summed = "or if the latent transform normalises, as if it was summed only after it."
    assert f"as if this part was reduced twice, {summed}" in twice.cause
    assert "normalises" not in scaled_by(2, "routed", SHARED_TWO).cause
    assert "normalises" not in scaled_by(0.5, "routed", LATENT_TWO).cause
    scaled = scaled_by(2.5, "routed", case("nemotron-3-super-120b-a12b")).cause
    assert scaled.endswith("twice, or if the latent transform normalises, as if the factor was applied only after it.")


def test_every_factor_that_fits_is_named() -> None:
    two = case("nemotron-3-nano-30b-a3b", tp=2)
    assert list(names_of(2.5, two)) == ["scaling"]
    assert list(names_of(2.0, two)) == ["tp"]
    assert names_of(1.37, two) == {}


@pytest.mark.parametrize(("factor", "text"), [(1.0042, "1.004"), (0.9968, "0.997"), (2.5, "2.5"), (1.00004, "1.00004")])
def test_a_factor_is_never_shown_as_one(factor: float, text: str) -> None:
    assert number(factor) == text


def test_a_named_part_is_its_own_stage() -> None:
    @dataclass(frozen=True, kw_only=True)
    class WithBias(Planted):
        def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
            parts = super().oracle(case, inputs)
            return parts | {"bias": 3 * torch.sin(torch.arange(float(case.hidden))).expand(inputs[0].shape)}

    class AddsMore(PaddedMoELayer):
        def dense(self, x: Tensor) -> Tensor:
            bias = 3 * torch.sin(torch.arange(float(x.shape[-1])))
            return (super().dense(x).float() + 1.5 * bias).to(x.dtype)

    finding = only(judge(WithBias(layer=AddsMore), SMALL, MODES["eager"], CPU))
    assert finding.stage == "bias"
    assert finding.cause == "The bias part is 1.5 times what it should be."


def test_a_factor_on_some_experts_is_fitted_by_token() -> None:
    class FirstExpertsTwice(GatedLayer):
        def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
            return super().run_experts(x, topk_ids, topk_weights * torch.where(topk_ids < 2, self.scaling, 1.0))

    finding = only(
        judge(Gated(layer=FirstExpertsTwice), case("nemotron-3-nano-30b-a3b", tokens=33), MODES["eager"], CPU)
    )
    assert (finding.kind, finding.stage) == ("wrong-part", stages.SCALING)
    assert "by token it lies between 1" in finding.cause
    assert "2.5 = scaling, as if the routed scaling factor was applied twice, on a part of" in finding.cause


def test_a_factor_by_token_is_named_where_a_whole_token_has_it() -> None:
    two_ranks = replace(SCALED, tp=2)
    spread = Difference([0], [0], 1.0, 9, {}, False, (), Spread("routed", 1.0, 2.5, (1.0, 2.51)))
    kind, stage, cause = by_token(spread, two_ranks) or ("", "", "")
    assert (kind, stage) == ("wrong-part", stages.SCALING)
    assert "2.5 = scaling, as if the routed" in cause
    assert "tp" not in cause
    reduced = replace(spread, spread=Spread("routed", 1.0, 2.0, (1.99,)))
    assert "2 = tp, as if this part was reduced twice" in (by_token(reduced, two_ranks) or ("", "", ""))[2]
    for nothing in (
        Spread("routed", 1.0, 2.4, ()),
        Spread("routed", 1.0, 2.4, (1.0, 2.2)),
        Spread("routed", 0.46, 1.0, (0.46,)),
    ):
        assert by_token(replace(spread, spread=nothing), two_ranks) is None


def test_two_names_of_one_factor_are_both_named() -> None:
    spread = Difference([0], [0], 1.0, 9, {}, False, (), Spread("routed", 1.0, 2.5, (2.5,)))
    _, stage, cause = by_token(spread, replace(SCALED, tp=2, scaling=2.0)) or ("", "", "")
    assert (stage, cause) == ("", "")
    same = replace(spread, spread=Spread("routed", 1.0, 2.0, (2.0,)))
    _, stage, cause = by_token(same, replace(SCALED, tp=2, scaling=2.0)) or ("", "", "")
    assert stage == stages.SCALING
    assert "2 = tp, as if this part was reduced twice, or 2 = scaling, as if the routed" in cause
    assert cause.endswith("with --tp 1 tells them apart.")


@pytest.mark.parametrize("mode", ["eager", "varied-tokens"])
def test_a_buffer_that_is_too_short_is_no_matter_of_widths(mode: str) -> None:
    class Staged(PaddedMoELayer):
        def reduce(self, x: Tensor) -> Tensor:
            return super().reduce(x + torch.zeros(40, x.shape[1], dtype=x.dtype)[: x.shape[0]])

    finding = only(judged(Staged, replace(SMALL, tokens=41) if mode == "eager" else SMALL, mode))
    assert (finding.kind, finding.widths) == ("raised", ())
    assert "Numbers of rows differ, 40 and 41." in finding.cause
    assert finding.cause.endswith("declares it, as tokens<=40.") == (mode != "eager")


def test_an_index_out_of_range_is_no_matter_of_widths() -> None:
    class SignedSixteen(PaddedMoELayer):
        def shared_output(self, hidden_states: Tensor) -> Tensor | None:
            rows = torch.arange(len(hidden_states)).to(torch.int16).long()
            return super().shared_output(hidden_states.index_select(0, rows))

    finding = only(judged(SignedSixteen, SHARED, "varied-tokens"))
    assert (finding.kind, finding.stage, finding.widths) == ("raised", "index_select", ())
    assert "An index lies outside of what it indexes" in finding.cause


@pytest.mark.parametrize("missing", [True, False])
def test_wrong_tokens_that_a_part_alone_tells_are_of_that_part(missing: bool) -> None:
    parts = {"routed": torch.randn(9, 96), "lora": torch.randn(9, 96)}
    has = torch.arange(9) == 4 if missing else torch.arange(9) != 4
    parts["lora"] *= has[:, None]
    difference = compare(sum(parts.values()) + 0.7 * torch.randn(9, 96) * (torch.arange(9) == 4)[:, None], parts)
    assert difference
    kind, stage, cause = diagnose(replace(SMALL, tokens=9), difference)
    where = "all tokens but this one" if missing else "this token alone"
    assert (kind, stage) == ("wrong-tokens", "lora")
    assert cause.endswith(f"In the oracle the lora part is zero in {where}.")


def test_wrong_tokens_of_an_unknown_part_are_of_no_stage() -> None:
    parts = {"routed": torch.randn(9, 96), "lora": torch.randn(9, 96)}
    difference = compare(sum(parts.values()) + torch.randn(9, 96) * (torch.arange(9) == 4)[:, None], parts)
    assert difference
    assert diagnose(replace(SMALL, tokens=9), difference)[:2] == ("wrong-tokens", "layer")


def _parts(small: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    large, other = (torch.randn(7, 96, generator=generator) for _ in range(2))
    return {"large": large, "small": small * other}


@pytest.mark.parametrize(
    ("small", "factor", "found"), [(1 / 300, 1.3, False), (1 / 300, 3, True), (1, 1.02, True), (1, 1.001, False)]
)
def test_a_factor_counts_where_it_exceeds_rounding(small: float, factor: float, found: bool) -> None:
    parts = _parts(small)
    output = (parts["large"] + factor * parts["small"]).bfloat16()
    difference = compare(output, parts)
    assert (difference is not None and difference.off == ("small",)) == found


def test_two_reductions_and_the_factor_are_one_finding() -> None:
    class Twice(PaddedMoELayer):
        def unpad(self, x: Tensor) -> Tensor:
            return all_reduce(super().unpad(x).contiguous(), self.tp)

    finding = only(judged(Twice, SHARED_TWO))
    assert finding.kind == "collective-count"
    assert finding.what.count("test_messages.py:") == 1
    assert " and " in finding.what.partition(";")[0]
    assert "2 = tp, as if this part was reduced twice" in finding.cause


@pytest.mark.parametrize(
    ("name", "collective", "reduction"),
    [
        ("vllm::all_reduce", True, True),
        ("_c10d_functional::all_reduce_coalesced_", True, True),
        ("c10d::allreduce_", True, True),
        ("sglang::inplace_all_reduce", True, True),
        ("_c10d_functional::reduce_scatter_tensor", False, True),
        ("_c10d_functional::all_gather_into_tensor", False, False),
        ("my::experts_no_all_reduce", False, False),
        ("my::all_reduce_hint", False, False),
        ("aten::all_reduce", False, False),
    ],
)
def test_a_collective_is_known_by_its_whole_name(name: str, collective: bool, reduction: bool) -> None:
    assert (is_collective(name), is_reduction(name)) == (collective, reduction)


class SkewsLater(PaddedMoELayer):
    """Wrong wherever the first token's first element is negative: in every call on such inputs."""

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x)

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        return torch.where(hidden_states.float().sum() == self.first_sum(), out, out * 1.5) if len(out) else out

    def first_sum(self) -> Tensor:
        return FIRST[0]


class Remembers(PaddedMoELayer):
    """Adds what the call before left."""

    def dense(self, x: Tensor) -> Tensor:
        before = self.__dict__.get("before", 0.0)
        self.__dict__["before"] = float(x.abs().mean()) if x.numel() else 0.0
        return super().dense(x) + before


FIRST = [torch.zeros(())]


def test_what_a_fresh_layer_gets_wrong_too_is_not_of_an_earlier_call() -> None:
    FIRST[0] = Planted().inputs(SMALL, SMALL.tokens, 0, CPU)[0].float().sum()
    stale = next(f for f in judged(SkewsLater).findings if f.observer == "second call")
    assert stale.kind == "scaled"
    assert "A fresh layer is wrong for these 7 tokens too" in stale.cause
    assert "reuses" not in stale.cause


def test_what_a_fresh_layer_gets_right_is_of_an_earlier_call() -> None:
    stale = next(f for f in judged(Remembers).findings if f.kind == "stale")
    assert stale.cause == "A fresh layer is right for these inputs: the layer reuses something of an earlier call."


def test_few_tokens_are_looked_at_on_a_fresh_layer() -> None:
    class OneIsWrong(PaddedMoELayer):
        def dense(self, x: Tensor) -> Tensor:
            return super().dense(x) * (1.5 if x.shape[0] == 1 else 1)

    few = next(f for f in judged(OneIsWrong).findings if f.kind == "few-tokens")
    assert "A fresh layer is wrong for 1 too" in few.cause


def test_a_fake_that_fixes_the_token_count_is_named() -> None:
    op = register_op("cases_messages::fixes", SCHEMA, fake=fake_fixes_tokens)(REAL)
    finding = only(judge(Planted(layer=with_op(op), op=op.name), SMALL, MODES["fake-dynamic"], CPU))
    assert finding.cause.startswith("The fake of cases_messages::fixes calls int()")
    assert finding.line is not None
    assert finding.line.file.endswith("fixtures/faults/fakes.py")


class TakesLength(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + x.new_zeros(len(x), x.shape[1])


def test_len_is_one_finding_with_its_line() -> None:
    finding = only(judged(TakesLength, mode="fake-dynamic"))
    assert (finding.kind, finding.what) == ("specialised", "the trace holds only where the token count is 7")
    assert finding.cause.startswith("The layer calls len(), which turns the symbolic token count into a number")
    assert finding.line is not None
    assert "len(x)" in finding.line.text


class LeavesRows(PaddedMoELayer):
    """Part of the memory is never written, and a weight of zero does not hide it."""

    def dense(self, x: Tensor) -> Tensor:
        fresh = torch.empty_like(x)
        fresh[2:] = 0
        return super().dense(x) + 0 * fresh


def test_the_op_and_the_rows_of_the_first_nan_are_named() -> None:
    finding = next(f for f in judged(LeavesRows).findings if f.observer == "poison")
    assert finding.what.endswith("NaN is seen in the output of aten::mul, rows 0-1 of 7")
    assert "aten::mul reads memory that nothing wrote" in finding.cause
    assert "0 x NaN is NaN" in finding.cause
    assert finding.line is not None
    assert "0 * fresh" in finding.line.text


class EmptyTail(PaddedMoELayer):
    """The pad allocates, and writes only the true columns."""

    def pad(self, x: Tensor) -> Tensor:
        padded = x.new_empty(x.shape[0], self.padded)
        padded[..., : self.width] = x
        return padded


class DividedTail(PaddedMoELayer):
    """Each block of columns is divided by its largest value, which is zero in the tail."""

    def pad(self, x: Tensor) -> Tensor:
        padded = super().pad(x)
        return padded / padded.unflatten(1, (-1, 16)).amax(2).repeat_interleave(16, 1)


@pytest.mark.parametrize("mode", ["eager", "cudagraph", "varied-contents"])
def test_a_tail_that_the_experts_are_given_unwritten_is_the_pads(mode: str) -> None:
    finding = next(f for f in judged(EmptyTail, mode=mode).findings if f.observer == "poison")
    assert finding.stage == stages.PAD
    assert "is given rows whose padded columns (80 and on) hold NaN: their memory was made without" in finding.cause
    assert "first appeared" not in finding.what
    assert finding.line is not None
    assert "x.new_empty" in finding.line.text


def test_a_tail_of_nan_that_was_computed_is_not_called_unwritten() -> None:
    finding = next(f for f in judged(DividedTail).findings if f.observer == "poison")
    assert finding.stage == stages.EXPERTS
    assert (
        "hold NaN: what made these rows read memory that nothing wrote, overflowed or divided by zero" in finding.cause
    )


class SortsIds(GatedLayer):
    """Brings each row's ids into order, with or without their weights, and then gives each expert another one's output."""

    with_weights, wrong, where = False, False, "given"

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        note_routing("selected", topk_weights, topk_ids)
        ids, order = topk_ids.sort(-1, descending=True)
        weights = topk_weights.gather(-1, order) if self.with_weights else topk_weights.sort(-1).values
        note_routing(self.where, weights, ids)
        return super().run_experts(x, (ids + self.wrong) % self.w13.shape[0], weights)


class SortsInside(SortsIds):
    """What the experts are given is noted where they use it, since what runs them is not the harness's."""

    where = "used"


class SortsBoth(SortsIds):
    with_weights = True


class SortsBothAndIsWrong(SortsBoth):
    wrong = True


@pytest.mark.parametrize("mode", ["eager", "varied-contents"])
@pytest.mark.parametrize("layer", [SortsIds, SortsInside])
def test_ids_that_lose_their_weights_are_the_routers(layer: type[SortsIds], mode: str) -> None:
    finding = judge(Gated(layer=layer), SMALL, MODES[mode], CPU).findings[0]
    assert finding.stage == stages.ROUTER
    assert finding.cause.endswith("The experts are given other weights or ids than the routing function selected.")


def test_what_is_given_as_it_was_selected_is_not_the_routers() -> None:
    assert judge(Gated(layer=SortsBoth), SMALL, MODES["eager"], CPU).findings == ()
    finding = judge(Gated(layer=SortsBothAndIsWrong), SMALL, MODES["eager"], CPU).findings[0]
    assert finding.stage == stages.EXPERTS
    assert "router selected" not in finding.cause


class NaNWeight(PaddedMoELayer):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.w2_global_scale[0] = torch.nan


class HalfWeights(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + torch.mm(x, torch.zeros(x.shape[1], x.shape[1], dtype=torch.float16))


def test_two_dtypes_are_no_matter_of_widths() -> None:
    finding = only(judged(HalfWeights, SHARED, "eager"))
    assert finding.kind == "raised"
    assert finding.cause.startswith("Two tensors of different dtypes meet")


def test_nan_in_a_weight_is_called_that() -> None:
    finding = next(f for f in judged(NaNWeight).findings if f.observer == "poison")
    assert finding.cause.startswith("The layer's w2_global_scale holds NaN when the layer is built")


def test_padding_rows_name_the_op_that_mixes_rows() -> None:
    class Peak(PaddedMoELayer):
        def dense(self, x: Tensor) -> Tensor:
            return super().dense(x) + 0 * x.amax(0)

    finding = only(judged(Peak, case("small", tokens=7), "cudagraph-dynamic"))
    assert finding.kind == "padding-tokens-leak"
    assert "NaN first appeared in the output of aten::amax" in finding.what


class RaisesOnData(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        table = torch.nn.functional.one_hot(topk_ids.long() + 1, self.w13.shape[0])
        return super().run_experts(x, topk_ids, topk_weights + 0 * table.sum())


def test_a_clean_trace_of_a_call_that_raises_is_said_to_prove_nothing() -> None:
    assert "It raises on real tensors and traces clean" in judged(RaisesOnData).findings[0].cause
    assert judged(RaisesOnData, mode="fake").findings == ()


def test_a_failure_of_shapes_says_nothing_of_traces() -> None:
    class Strided(PaddedMoELayer):
        def dense(self, x: Tensor) -> Tensor:
            return x

    assert "traces clean" not in judged(Strided, SMALL_TWO).findings[0].cause


def test_a_bias_before_the_cut_is_no_missing_cut() -> None:
    class Biased(PaddedMoELayer):
        def unpad(self, x: Tensor) -> Tensor:
            return super().unpad(x + x.new_zeros(self.width))

    finding = judged(Biased, SHARED).findings[0]
    assert finding.cause.startswith("A bias of the true width is added before the padded columns are cut off")
    assert finding.similar_to == ()


def test_a_wrong_shared_part_alone_is_similar_to_no_bug() -> None:
    class OtherWeights(PaddedMoELayer):
        def shared_output(self, hidden_states: Tensor) -> Tensor | None:
            return super().shared_output(hidden_states.flip(0))

    finding = only(judged(OtherWeights, ALIGNED_SHARED))
    assert (finding.kind, finding.similar_to) == ("wrong-part", ())


def test_a_scaling_of_the_wrong_part_is_one_cause() -> None:
    class Exchanged(PaddedMoELayer):
        def scale(self, x: Tensor) -> Tensor:
            return x

        def shared_output(self, hidden_states: Tensor) -> Tensor | None:
            shared = super().shared_output(hidden_states)
            return None if shared is None else shared * 2.5

    finding = only(judged(Exchanged, SCALED))
    assert (finding.kind, finding.stage) == ("scaled", stages.SCALING)
    assert finding.cause.startswith(
        "The shared part is multiplied by the routed scaling factor, and the routed part is not"
    )


def test_a_latent_output_reduced_twice_at_full_width_is_not_similar_to_one_reduced_before_its_projection() -> None:
    class ReducedTwice(PaddedMoELayer):
        def reduce(self, x: Tensor) -> Tensor:
            return super().reduce(super().reduce(x))

    finding = next(one for one in judged(ReducedTwice, LATENT_TWO).findings if one.kind == "collective-count")
    assert (finding.detail["reduced"], finding.similar_to) == ([LATENT_TWO.hidden] * 2, ())


def test_a_transposed_output_is_not_similar_to_a_strided_cut() -> None:
    class Transposed(PaddedMoELayer):
        def dense(self, x: Tensor) -> Tensor:
            return super().dense(x).t().contiguous().t()

    finding = judged(Transposed).findings[0]
    assert (finding.kind, finding.similar_to) == ("strided-output", ())


def test_a_layer_that_cannot_be_built_names_the_widths() -> None:
    class Narrow(PaddedMoELayer):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            torch.zeros(3, self.padded).copy_(torch.zeros(3, self.width))

    finding = only(judged(Narrow))
    assert [width.text for width in finding.widths] == ["128 = 80 rounded up to 64, blocks-of-64", "80 = hidden"]


def test_a_wrapper_s_line_is_not_the_message() -> None:
    wrapped = RuntimeError("backend='inductor' raised:\nTypeError: expected a tensor\n\nSet TORCHDYNAMO_VERBOSE=1")
    assert first_line(wrapped) == "TypeError: expected a tensor"
    traced = (
        "Dynamo failed to run FX node with fake tensors: call_function f(*(FakeTensor(..., size=(7, 80)),), **{}): got "
    )
    assert first_line(RuntimeError(f"{traced}RuntimeError('sizes differ')")) == "RuntimeError('sizes differ')"
    assert first_line(RuntimeError("plain:")) == "plain:"


def test_a_symbol_that_is_fixed_is_a_number() -> None:
    class Fixed:
        def __str__(self) -> str:
            return "7"

    assert TensorMeta.of(torch.zeros(7, 3)).shape == (7, 3)
    from harness.ops.tensor_meta import _size

    assert _size(Fixed()) == 7
    assert _size("s3") == "s3"


def _in_another_order(shared: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    return REAL(*arguments), shared.clone()


SHARED_BY_OP = Planted(layer=SharedByOp, op=f"{BOTH}[1]")


def judged_with(mode: str, real: Any = None, fake: Any = None) -> Finding:
    with both.planted(real=real, fake=fake):
        return judge(SHARED_BY_OP, SHARED, MODES[mode], CPU).findings[0]


def test_outputs_in_another_order_are_no_missing_cut() -> None:
    finding = judged_with("cudagraph", real=_in_another_order)
    assert (finding.kind, finding.stage, finding.similar_to) == ("width-mismatch", stages.EXPERTS, ())
    assert finding.cause.startswith(f"Output 0 of {BOTH} has the padded width")


def test_a_padded_shared_output_is_no_padding_that_was_not_cut_off() -> None:
    def padded(shared: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        return torch.nn.functional.pad(shared, (0, SHARED.padded - SHARED.hidden)), REAL(*arguments)

    finding = judged_with("cudagraph", real=padded)
    assert (finding.kind, finding.stage, finding.similar_to) == ("width-mismatch", stages.SHARED, ())
    assert f"Output 0 of {BOTH}, which is not the routed experts', has the padded width too" in finding.cause


@pytest.mark.parametrize(("mode", "whose"), [("cudagraph", "it"), ("fake", "its fake")])
def test_a_function_that_gives_one_output_for_two_is_named_so(mode: str, whose: str) -> None:
    def one(shared: Tensor, *arguments: Any) -> Tensor:
        return torch.empty_like(shared)

    finding = judged_with(mode, **{"fake" if mode == "fake" else "real": one})
    assert finding.what == f"{BOTH}: {whose} returns a Tensor, and its schema says several outputs"
    assert finding.stage == stages.EXPERTS


def test_padding_in_front_is_found_at_the_pad() -> None:
    class InFront(PaddedMoELayer):
        def pad(self, x: Tensor) -> Tensor:
            return torch.nn.functional.pad(x, (self.padded - x.shape[-1], 0))

    finding = judged(InFront, SMALL).findings[0]
    assert (finding.kind, finding.stage) == ("wrong-columns", stages.PAD)
    assert finding.cause.startswith(
        f"The pad puts {SMALL.padded - SMALL.width} columns of padding in front of the rows"
    )


def test_a_cut_that_begins_late_is_found_at_the_cut() -> None:
    finding = next(one for one in judged(Shifted, SMALL).findings if one.observer == "values")
    assert (finding.kind, finding.stage) == ("wrong-columns", stages.UNPAD)
    assert finding.cause == "The cut leaves out the first column, where no padding is."


def test_a_factor_that_the_contents_decide_is_not_the_routed_scaling() -> None:
    class TooLarge(PaddedMoELayer):
        def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
            out = super().run_experts(x, topk_ids, topk_weights)
            return out * 0.3 if x.numel() and x.abs().max() > 50 else out

    findings = judge(Planted(layer=TooLarge), SMALL_TWO, MODES["varied-contents"], CPU).findings
    assert {finding.stage for finding in findings if finding.kind == "input-contents"} == {stages.EXPERTS}


def test_compiled_code_that_is_as_wrong_as_eager_is_no_fault_of_the_compiler() -> None:
    class FirstTwoHundred(PaddedMoELayer):
        def dense(self, x: Tensor) -> Tensor:
            return torch.cat([super().dense(x)[:200], torch.zeros_like(x[200:])])

    found = [f for f in judged(FirstTwoHundred, SHARED, "varied-compiled").findings if f.kind == "compiled-otherwise"]
    assert found
    assert all(finding.cause.startswith("Eager code is wrong for the same tokens") for finding in found)


def test_compiled_code_that_a_row_makes_as_wrong_as_eager_is_not_said_to_meet_a_token_count() -> None:
    class RareRow(PaddedMoELayer):
        def forward(self, x: Tensor, *routing: Tensor) -> Tensor:
            out = super().forward(x, *routing)
            # The signs of six columns: some of 201 random rows have them all.
            return torch.where((x[:, :6] > 0).all(1, keepdim=True), out * 0.5, out)

    finding = only(judged(RareRow, SHARED, "varied-compiled"))
    assert finding.kind == "input-contents"
    assert "it is what the row holds that matters" in finding.cause
    assert "right compiled for" not in finding.what


class Weighs(torch.nn.Module):
    """A part of a layer that says which one it is."""

    moe_part = "router"

    def forward(self, topk_weights: Tensor) -> Tensor:
        return topk_weights * 1


class Weighed(PaddedMoELayer):
    """A layer that keeps, by the number of tokens, what its router gave or what its experts gave."""

    keeps_experts = False

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        if self.keeps_experts:
            weights = self.part()(topk_weights)
            return self.kept(x, lambda: super(Weighed, self).run_experts(x, topk_ids, weights))
        weights = self.kept(x, lambda: self.part()(topk_weights))
        return super().run_experts(x, topk_ids, weights)

    def part(self) -> torch.nn.Module:
        if not hasattr(self, "weighs"):
            self.weighs = Weighs()
        return self.weighs

    def kept(self, x: Tensor, make: Callable[[], Tensor]) -> Tensor:
        stored: dict[int, Tensor] = self.__dict__.setdefault("stored", {})
        if len(x) not in stored:
            stored[len(x)] = make().clone()
        return stored[len(x)].clone()


@pytest.mark.parametrize(("keeps_experts", "stage"), [(False, stages.ROUTER), (True, stages.EXPERTS)])
@pytest.mark.parametrize("mode", ["eager", "varied-contents"])
def test_a_part_that_does_not_run_again_is_the_stage_of_what_is_stale(
    keeps_experts: bool, stage: str, mode: str
) -> None:
    layer = type("Keeps", (Weighed,), {"keeps_experts": keeps_experts})
    finding = next(one for one in judged(layer, SHARED, mode).findings if one.kind == "stale")
    assert finding.stage == stage
    assert ("The router does not run in the later call" in finding.cause) == (not keeps_experts)


def test_a_scaling_that_no_case_has_is_not_said_to_depend_on_the_shared_expert() -> None:
    class NeverScales(PaddedMoELayer):
        def scale(self, x: Tensor) -> Tensor:
            return x * 1

    finding = only(judged(NeverScales, SMALL, "varied-sizes"))
    assert finding.vary == "sizes=scaling-alone"
    assert finding.cause.endswith("that never has a shared expert may leave it out everywhere.")


class ScalesShared(SharedByOp):
    """The runner divides the shared part, whose expert has returned, by the routed scaling."""

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        return super().add_shared(routed, shared / self.scaling)


class ScalesSharedOddly(SharedByOp):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        return super().add_shared(routed, shared * 1.7)


class SharesLess(SharedByOp):
    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        out = super().shared_output(hidden_states)
        return out if out is None else out / self.scaling


def test_a_shared_part_that_is_scaled_behind_its_expert_is_no_fault_of_the_expert() -> None:
    outside = only(judge(replace(SHARED_BY_OP, layer=ScalesShared), SCALED, MODES["eager"], CPU))
    assert (outside.kind, outside.stage) == ("scaled", stages.SCALING)
    assert "It is multiplied or divided at" in outside.cause
    assert "where the shared expert has returned" in outside.cause
    oddly = only(judge(replace(SHARED_BY_OP, layer=ScalesSharedOddly), SCALED, MODES["eager"], CPU))
    assert oddly.stage == stages.SCALING
    assert oddly.cause.startswith("The shared part is 1.7 times what it should be. It is multiplied or divided at")
    inside = only(judge(replace(SHARED_BY_OP, layer=SharesLess), SCALED, MODES["eager"], CPU))
    assert inside.stage == stages.SHARED
    assert "returned" not in inside.cause


def test_nan_that_is_in_the_shared_output_alone_is_the_shared_experts() -> None:
    def lost(shared: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        kept = len(shared) if len(shared) % 512 != 1 else max(len(shared) - 1, 1)
        return torch.cat((shared[:kept], shared.new_empty(len(shared) - kept, shared.shape[1]))), REAL(*arguments)

    def both_lost(shared: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        shared, routed = lost(shared, *arguments)
        return shared, torch.where(shared[:, :1].isnan(), torch.nan, routed)

    finding = judged_with("varied-tokens", real=lost)
    assert (finding.kind, finding.stage) == ("token-count", stages.SHARED)
    assert judged_with("varied-tokens", real=both_lost).stage == "layer"


class HalfOfOne(PaddedMoELayer):
    """One token gets half of what it should, and where all rows are one, rounding is the same in each."""

    def scale(self, x: Tensor) -> Tensor:
        rounded = 0.985 if len(x) > 1 and torch.equal(x[0], x[1]) else 1
        return super().scale(x) * (0.5 if len(x) == 1 else rounded)


def test_a_row_that_is_repeated_is_compared_by_itself() -> None:
    finding = only(judged(HalfOfOne, SHARED, "eager"))
    assert finding.kind == "few-tokens"
    assert "so it is the batch size that matters, or this token" in finding.cause


def test_with_too_few_all_reduces_nothing_is_said_to_be_reduced_twice() -> None:
    cause = scaled_by(2, "routed", LATENT_TWO).cause
    assert "reduced twice" not in reduced_less(cause)
    assert reduced_less(cause).endswith(
        "2 = tp, if the latent transform normalises, as if it was summed only after it."
    )
    assert reduced_less(scaled_by(2, "routed", SHARED_TWO).cause).endswith("and 2 = tp.")


_pool: dict[torch.Size, Tensor] = {}


@register_op("cases_messages::pooled", SCHEMA, fake=lambda *a: a[0].new_empty(a[0].shape[0], a[WIDTH]))
def _pooled(*arguments: Any) -> Tensor:
    """The experts, in one output buffer for each shape."""
    out: Tensor = REAL(*arguments)
    return _pool.setdefault(out.shape, torch.empty_like(out)).copy_(out).view_as(out)


def test_an_output_in_memory_that_the_experts_op_reuses_is_overwritten_there() -> None:
    unpadded = case("small-aligned", kernel="narrow")
    finding = judge(Planted(layer=with_op(_pooled), op=_pooled.name), unpadded, MODES["eager"], CPU).findings
    overwritten = next(one for one in finding if one.kind == "output-overwritten")
    assert overwritten.stage == stages.EXPERTS
    assert overwritten.cause.startswith("cases_messages::pooled returns memory that it writes again")
    assert overwritten.line is not None
