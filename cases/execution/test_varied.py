"""The varied modes: what they run, what they leave out and why, and how a finding says what was varied."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.planting import SHARED, SMALL, Planted
from harness.base.errors import BadInput, Skip
from harness.findings.finding import FINDINGS, OK, SKIPPED, Verdict
from harness.matrix.case import Case, small_width
from harness.matrix.modes import MODES, VARIED, ModeInfo
from harness.matrix.selection import Selection
from harness.matrix.variations import BY_NAME_ONLY, DECLARED, GROUPS, check_names, names_of
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CPU = torch.device("cpu")
VARIED_MODES = [mode for mode in MODES.values() if mode.family == VARIED]
EVERY_NAME = [name for mode in VARIED_MODES for name in names_of(mode.name)]


def judged(layer: type[PaddedMoELayer], *vary: str, case: Case = SMALL, kind: Any = Planted) -> Verdict:
    mode = MODES[GROUPS[vary[0].partition("=")[0]].mode]
    return judge(kind(layer=layer), case, replace(mode, vary=vary), CPU)


def large(limit: int, *, error: type[Exception] = ValueError) -> type[PaddedMoELayer]:
    """A layer that refuses more tokens than ``limit``."""

    class Limited(PaddedMoELayer):
        def pad(self, x: Tensor) -> Tensor:
            if x.shape[0] > limit: raise error(f"at most {limit} tokens")  # fmt: skip  # noqa: E701
            return super().pad(x)

    return Limited


class WrongFrom58(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] >= 58 else x


class Remembers(PaddedMoELayer):
    """A batch after one of more than 100 tokens is wrong."""

    def reduce(self, x: Tensor) -> Tensor:
        before, self.__dict__["before"] = self.__dict__.get("before", 0), x.shape[0]
        return x + 1 if before > 100 and x.shape[0] < 100 else x


class WritesItsWeight(PaddedMoELayer):
    """A batch of 33 tokens changes a weight."""

    def pad(self, x: Tensor) -> Tensor:
        if x.shape[0] == 33:
            self.w2_global_scale.mul_(1.5)
        return super().pad(x)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", VARIED_MODES, ids=lambda mode: mode.name)
def test_the_in_tree_layer_is_right_in_every_structure(mode: ModeInfo) -> None:
    cases = [case for case, _ in Selection(modes=(mode.name,)).tasks()]
    assert len({case.structure for case in cases}) == len(cases) >= (4 if mode.parts_only else 9)
    for case in cases[::4]:
        assert judge(InTree(), case, mode, CPU).status == OK, case.id


def test_a_structure_stands_for_all_its_models_at_a_small_width_with_as_much_padding() -> None:
    every = {
        case.structure for case, mode in Selection().tasks() if mode.name == "eager" and case.alignment.hidden == 256
    }
    chosen = [case for case, mode in Selection().tasks() if mode.name == VARIED_MODES[0].name]
    assert {case.structure for case in chosen} == every
    for case in chosen:
        published = case.published()
        assert case.width <= 512
        assert case.padded - case.width == published.padded - published.width
        assert case.hidden != case.latent
        assert "hidden" in case.changes or case.hidden == published.hidden


@pytest.mark.parametrize(
    ("width", "multiple", "small"), [(2688, 256, 128), (2880, 256, 320), (7168, 256, 256), (4096, 16, 80), (64, 64, 64)]
)
def test_a_small_width_has_the_remainder_of_the_published_one(width: int, multiple: int, small: int) -> None:
    assert small_width(width, multiple) == small
    assert small % multiple == width % multiple


def test_the_smallest_count_that_is_wrong_is_found_and_is_in_the_command() -> None:
    verdict = judge(Planted(layer=WrongFrom58), SMALL, MODES["varied-tokens"], CPU)
    (finding,) = verdict.findings
    assert finding.what.startswith("right at 57 tokens, wrong at 58 and at each larger count that was tried; all 58")
    assert finding.vary == "tokens=58"
    assert "--vary tokens=58" in verdict.reproduce
    assert judged(WrongFrom58, "tokens=58").status == FINDINGS
    assert judged(WrongFrom58, "tokens=57").status == OK


def test_a_layer_that_remembers_is_told_from_one_that_is_wrong_for_a_count() -> None:
    (finding,) = judged(Remembers, "growth=7-60-7-130-7").findings
    assert "batch 5 of 7, 60, 7, 130, 7 tokens" in finding.what
    assert "depends on earlier calls" in finding.cause
    assert "not called before is wrong too" in judged(WrongFrom58, "tokens=65").findings[0].cause


def test_a_changed_weight_is_told_with_the_count_that_changed_it() -> None:
    verdict = judged(WritesItsWeight, "tokens=32", "tokens=33")
    changed = next(finding for finding in verdict.findings if finding.kind == "mutated-state")
    assert changed.call == "call with 33 tokens"
    assert changed.vary == "tokens=33"


def test_a_limit_that_the_layer_says_is_no_finding_and_an_error_in_between_is_one() -> None:
    verdict = judge(Planted(layer=large(100)), SMALL, MODES["varied-tokens"], CPU)
    assert verdict.status == OK
    assert "tokens=127: the layer raises ValueError: at most 100 tokens" in verdict.environment["left out"]

    class NotThirtyOne(PaddedMoELayer):
        def pad(self, x: Tensor) -> Tensor:
            assert x.shape[0] != 31
            return super().pad(x)

    (finding,) = judge(Planted(layer=NotThirtyOne), SMALL, MODES["varied-tokens"], CPU).findings
    assert finding.kind == "raised"
    assert "raises at 31; right again at" in finding.cause


def test_an_operation_that_fails_is_no_limit() -> None:
    class Cut(PaddedMoELayer):
        def unpad(self, x: Tensor) -> Tensor:
            return super().unpad(x).view(min(x.shape[0], 300), -1, self.width).squeeze(1)

    verdict = judge(Planted(layer=Cut), SMALL, MODES["varied-tokens"], CPU)
    assert verdict.status == FINDINGS
    assert verdict.findings[0].vary == "tokens=301"


def test_what_a_subject_declares_is_left_out_with_that_reason() -> None:
    for text, names in DECLARED.items():

        @dataclass(frozen=True, kw_only=True)
        class Declares(Planted):
            declares = (text,)

        verdict = judged(PaddedMoELayer, *names, kind=Declares)
        assert verdict.status == SKIPPED
        assert verdict.reason.count(f"the subject declares {text}") == len(names)


@dataclass(frozen=True, kw_only=True)
class WrapsIds(Planted):
    """An oracle of Python's indexing: id -1 is the last expert, and the last slot of a row decides."""

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        hidden, ids, weights = inputs
        return super().oracle(case, (hidden, ids % case.experts, weights))


@dataclass(frozen=True, kw_only=True)
class RefusesIds(Planted):
    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        if int(inputs[1].min()) < 0:
            raise ValueError("no such expert")
        return super().oracle(case, inputs)


@pytest.mark.parametrize(
    ("kind", "reason"), [(WrapsIds, "gives such ids another meaning"), (RefusesIds, "ValueError: no such expert")]
)
def test_an_id_that_the_oracle_says_nothing_of_is_left_out(kind: Any, reason: str) -> None:
    verdict = judged(PaddedMoELayer, "content=minus-one", kind=kind)
    assert verdict.status == SKIPPED
    assert reason in verdict.reason


def test_the_number_of_experts_as_an_id_is_tried_where_that_is_declared() -> None:
    @dataclass(frozen=True, kw_only=True)
    class NoExpert(Planted):
        declares = ("id-experts",)

        def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
            hidden, ids, weights = inputs
            return super().oracle(case, (hidden, torch.where(ids == case.experts, -1, ids), weights))

    class Clamps(PaddedMoELayer):
        def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
            return super().run_experts(x, topk_ids.clamp(max=self.w13.shape[0] - 1), topk_weights)

    assert judged(PaddedMoELayer, "content=id-experts", kind=NoExpert).status == OK
    assert judged(Clamps, "content=id-experts", kind=NoExpert).status == FINDINGS
    assert judged(Clamps, "content=id-experts").status == SKIPPED


def test_other_dtypes_run_by_name_and_not_by_default() -> None:
    class AlwaysBf16(PaddedMoELayer):
        def reduce(self, x: Tensor) -> Tensor:
            return super().reduce(x).bfloat16()

    assert judge(Planted(layer=AlwaysBf16), SHARED, MODES["varied-forms"], CPU).status == OK
    assert {name for name in BY_NAME_ONLY if name.startswith("dtype")} == {"dtype=float16", "dtype=float32"}
    for name in ("dtype=float16", "dtype=float32"):
        assert judged(PaddedMoELayer, name, case=SHARED).status == OK
        (finding,) = judged(AlwaysBf16, name, case=SHARED).findings
        assert finding.kind == "wrong-dtype"


@dataclass(frozen=True, kw_only=True)
class PublishedWidths(Planted):
    """Builds the published width of its model and no other."""

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        if case.hidden != 2688:
            raise Skip("no such width")
        return super().build(case, device)


def test_a_subject_of_published_widths_is_judged_at_those() -> None:
    chosen: dict[str, Any] = {"models": ("nemotron-3-nano-30b-a3b",), "kernels": ("narrow",), "tp": (1,)}
    ((case, mode),) = Selection(vary=("content=zero-row",), **chosen).tasks()
    assert case.hidden == 128
    verdict = judge(PublishedWidths(), case, mode, CPU)
    assert (verdict.status, verdict.hidden) == (OK, 2688)


def test_inputs_beyond_what_the_subject_makes_are_left_out() -> None:
    @dataclass(frozen=True, kw_only=True)
    class FewInputs(Planted):
        def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
            assert tokens <= 100
            return super().inputs(case, tokens, seed, device)

    verdict = judge(FewInputs(), SMALL, MODES["varied-tokens"], CPU)
    assert verdict.status == OK
    assert "makes no inputs or oracle of more than 64 tokens" in verdict.environment["left out"]


def test_every_name_is_valid_and_a_bad_one_gets_the_nearest() -> None:
    check_names((*EVERY_NAME, "tokens=777", "captured=200"))
    for bad, near in (("content=zero-rows", "content=zero-row"), ("slice", "form=slice"), ("tokens=1x", "tokens=")):
        with pytest.raises(BadInput) as caught:
            Selection(vary=(bad,)).tasks()
        assert f"--vary {bad}: no such variation; did you mean" in str(caught.value)
        assert near in str(caught.value)
    for bad in ("tokens=1", "tokens=-3", "tokens=99999999", "growth=3", "=", ""):
        with pytest.raises(BadInput):
            check_names((bad,))


def test_naming_a_variation_chooses_its_mode_alone() -> None:
    tasks = Selection(vary=("tokens=65", "form=slice")).tasks()
    assert {(mode.name, mode.vary) for _, mode in tasks} == {
        ("varied-tokens", ("tokens=65",)),
        ("varied-forms", ("form=slice",)),
    }
    with pytest.raises(BadInput, match="no mode of the family varied is chosen"):
        Selection(vary=("tokens=65",), modes=("eager",)).tasks()
