"""What is varied in rows, routers, threads, layers and containers, and what a finding of it says."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fixtures.faults.rows import Logits, MasksEveryEqual, OverflowingSoftmax, Routes
from fixtures.planting import SHARED, SMALL, Planted
from harness.execution.difference import compare
from harness.execution.memory.containers import entries_of
from harness.findings.finding import OK, Finding, Verdict
from harness.matrix.modes import MODES
from harness.subjects.subject import Subject
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.masters import Sizes, masters, quantised, whole_blocks
from kernels.layer.nvfp4 import dequantise

CPU = torch.device("cpu")


def judged(layer: type[PaddedMoELayer], mode: str, kind: Any = Planted, case: Any = SMALL) -> Verdict:
    return judge(kind(layer=layer), case, MODES[mode], CPU)


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


class WrongAtOutlier(PaddedMoELayer):
    """The last column of every row is lost where some row has a value above a hundred."""

    def unpad(self, x: Tensor) -> Tensor:
        out = super().unpad(x).clone()
        out[:, -1] *= self.__dict__.pop("factor", 1)
        return out

    def pad(self, x: Tensor) -> Tensor:
        self.__dict__["factor"] = (
            0 if x.numel() and bool((x.abs() > 500).any()) and bool((x.abs() < 5).all(-1).any()) else 1
        )
        return super().pad(x)


class ZeroRow(PaddedMoELayer):
    """A row of negative zeros is not a number."""

    def unpad(self, x: Tensor) -> Tensor:
        return super().unpad(x) / self.__dict__["some"][:, None]

    def pad(self, x: Tensor) -> Tensor:
        self.__dict__["some"] = torch.where((x == 0).all(-1) & x.signbit().all(-1), 0.0, 1.0).to(x.dtype)
        return super().pad(x)


def test_ordinary_rows_beside_an_outlier_are_named_as_such() -> None:
    finding = only(judged(WrongAtOutlier, "varied-contents"))
    assert finding.vary == "content=special-rows"
    assert "rows of random values beside one that is 512 times as large; " in finding.what


def test_a_special_row_is_named_by_what_it_is() -> None:
    finding = only(judged(ZeroRow, "varied-contents"))
    assert "a row of negative zeros (row 3)" in finding.what


def test_a_subject_without_large_values_is_given_no_outlier() -> None:
    class NoLargeValues(Planted):
        declares = ("no-large-values",)

    assert judged(WrongAtOutlier, "varied-contents", NoLargeValues).status == OK


@pytest.mark.parametrize(
    ("layer", "vary"), [(OverflowingSoftmax, "content=logits-shifted"), (MasksEveryEqual, "content=logits-tied")]
)
def test_router_logits_are_varied(layer: type[PaddedMoELayer], vary: str) -> None:
    assert only(judged(layer, "varied-contents", Logits)).vary == vary


def test_logits_of_which_the_oracle_says_something_else_are_left_out() -> None:
    class Raw(Logits):
        def oracle(self, case: Any, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
            return {name: part + inputs[1].sum() / 64 for name, part in super().oracle(case, inputs).items()}

    class Sums(Routes):
        def forward(self, hidden_states: Tensor, logits: Tensor) -> Tensor:  # type: ignore[override]
            return (super().forward(hidden_states, logits).float() + logits.sum() / 64).to(hidden_states.dtype)

    left_out = judged(Sums, "varied-contents", Raw).environment["left out"]
    assert "logits-shifted: the subject's oracle gives such logits another meaning" in left_out


def test_numbers_beside_an_input_and_nan_are_told_apart() -> None:
    class ReadsBeside(PaddedMoELayer):
        def pad(self, x: Tensor) -> Tensor:
            if x.stride(0) <= self.padded or x.shape[0] < 2:
                return super().pad(x)
            return x.as_strided((x.shape[0], self.padded), x.stride())

    class ReadsByShape(PaddedMoELayer):
        def pad(self, x: Tensor) -> Tensor:
            return super().pad(x.as_strided(x.shape, (x.shape[1], 1)) if x.stride(0) > x.shape[1] else x)

    assert only(judged(ReadsBeside, "varied-forms", case=SHARED)).vary == "form=beside-nan"
    assert only(judged(ReadsByShape, "varied-forms", case=SHARED)).vary == "form=slice"


def test_the_sixteenth_layer_is_called_and_other_variations_stay_silent() -> None:
    class Twelve(PaddedMoELayer):
        alive: ClassVar[int] = 0

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            Twelve.alive += 1
            self.far = Twelve.alive > 12

        def reduce(self, x: Tensor) -> Tensor:
            return x * 2 if self.far else x

    findings = judged(Twelve, "varied-layers").findings
    assert {finding.vary for finding in findings} == {"other=16"}
    assert "of 16" in findings[0].what


def test_containers_are_counted_with_what_is_in_them() -> None:
    class Holder:
        table: ClassVar[dict[str, list[int]]] = {"a": [1, 2]}

        def __init__(self) -> None:
            self.items = [1, 2, 3]

    counts = entries_of(Holder(), ())
    assert counts["the layer.items"] == 3
    assert next(count for name, count in counts.items() if name.endswith("Holder.table")) == 3


def test_what_is_found_again_by_contents_is_stale() -> None:
    class ById(PaddedMoELayer):
        sums: ClassVar[dict[bytes, Tensor]] = {}

        def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
            if torch._C._len_torch_dispatch_stack() or not topk_ids.numel():
                return super().run_experts(x, topk_ids, topk_weights)
            key = topk_ids.contiguous().numpy().tobytes()
            return super().run_experts(x, topk_ids, self.sums.setdefault(key, topk_weights.clone()))

    first = judged(ById, "varied-contents").findings[0]
    assert (first.kind, first.vary) == ("stale", "content=weights-above-one")
    assert "right for the same rows in another order" in first.cause


def test_one_column_that_is_a_little_wrong_in_every_token_is_found() -> None:
    generator = torch.Generator().manual_seed(1)
    right = torch.randn(7, 80, generator=generator)
    wrong = right.clone()
    wrong[:, 13] *= 1.055
    difference = compare(wrong, right)
    assert difference is not None
    assert difference.columns == [13]
    assert difference.worst < 0.04
    assert compare(right.bfloat16(), right) is None


def test_subnormal_scales_stand_for_the_same_weights() -> None:
    sizes = Sizes.of(SMALL)
    for weight, master in zip(quantised(sizes), (masters(sizes).w13, masters(sizes).w2), strict=True):
        assert torch.equal(dequantise(weight), whole_blocks(master))
        assert (weight.scales[1] & 0x78 == 0).any()


def test_a_layer_that_sets_the_compilers_errors_gets_verdicts() -> None:
    class Suppresses(PaddedMoELayer):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            import torch._dynamo.config as config

            config.suppress_errors = True

    subject: Subject = Planted(layer=Suppresses)
    assert judge(subject, SMALL, MODES["varied-forms"], CPU).status == OK
    (finding,) = judge(subject, SMALL, MODES["varied-surroundings"], CPU).findings
    assert "torch._dynamo.config.suppress_errors" in finding.what
