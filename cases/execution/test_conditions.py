"""Variations with one more condition, and what their findings say."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures import corpus
from fixtures.faults.conditions import is_real
from fixtures.planting import ALIGNED, SMALL, Planted
from harness.execution.modes.varied.forms import _OF_ONE
from harness.execution.modes.varied.inputs import Inputs
from harness.findings.finding import OK, Verdict
from harness.matrix.modes import MODES
from harness.matrix.variations import BETWEEN, GROUPS
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CPU = torch.device("cpu")
FAULTS = {fault.id: fault for fault in corpus.FAULTS}


def varied(subject: Any, name: str, case: Any = SMALL) -> Verdict:
    mode = MODES[GROUPS[name.partition("=")[0]].mode]
    return judge(subject, case, replace(mode, vary=(name,)), CPU)


@pytest.mark.parametrize(
    ("fault", "name", "text"),
    [
        ("tuned-at-third", "calls=97-tokens", "4 calls with 97 tokens: wrong (call 3 of 4)"),
        ("four-by-four", "sizes=top-8", "right with 7 experts for each token, wrong with 8 experts for each token"),
        ("compiled-chunks", "compiled=201-tokens", "right compiled for 150 tokens, wrong for 151"),
        ("scaled-as-at-first", "before=autocast", "a call after a first one under autocast"),
        ("pitch-of-weights", "form=ids-slice", "expert ids that are columns of a wider buffer"),
        ("padded-by-caller", "form=padded-buffer", "all 7 tokens are NaN"),
        ("scales-of-first-expert", "weights=later-rows", "differs from a layer that got the same weights after others"),
        ("folds-at-each-load", "weights=in-parts", "differs from a layer that got the same weights in one load"),
    ],
)
def test_the_condition_is_named_and_the_correct_layer_is_right_under_it(fault: str, name: str, text: str) -> None:
    entry = FAULTS[f"generic#{fault}"]
    finding = varied(entry.subject, name, entry.cases[0]).findings[0]
    assert text in finding.what
    assert finding.vary == name
    assert varied(InTree(), name, entry.cases[0]).status == OK


def test_some_counts_leave_a_rest_of_every_tile_of_a_power_of_two() -> None:
    assert [count for count in BETWEEN if count % 2] == [45, 1441, 1793, 2089, 3841]


def test_a_width_that_needs_no_padding_has_no_padded_buffer() -> None:
    inputs = Inputs.of(InTree().inputs(ALIGNED, 7, 0, CPU), ALIGNED)
    assert _OF_ONE["padded-buffer"](inputs, ALIGNED)[0] is None
    assert _OF_ONE["padded-buffer"](inputs, SMALL)[0] == 0


class PlanOfCounts(PaddedMoELayer):
    """The plan of a batch is found by the number of tokens of each expert."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        """The first one of these counts."""
        if is_real(topk_ids) and not torch._C._len_torch_dispatch_stack():
            key = topk_ids.shape, *topk_ids.flatten().bincount(minlength=3).tolist()
            topk_ids = self.__dict__.setdefault("held", {}).setdefault(key, topk_ids.clone())
        return super().run_experts(x, topk_ids, topk_weights)


class EveryThird(PaddedMoELayer):
    """Every third call is wrong, whatever its inputs are."""

    calls = 0

    def scale(self, x: Tensor) -> Tensor:
        """Twice as large then."""
        self.calls += is_real(x)
        return super().scale(x) * (2 if self.calls % 3 == 0 and is_real(x) else 1)


def test_what_earlier_batches_left_is_told_from_a_count_of_calls() -> None:
    (found,) = varied(Planted(layer=PlanOfCounts), "calls=64").findings
    assert "right where all calls before have the same inputs" in found.what
    assert "found again" in found.cause
    (counted,) = varied(Planted(layer=EveryThird), "calls=64").findings
    assert "same inputs" not in counted.what
    assert "counts its calls" in counted.cause


class CompiledWrong(PaddedMoELayer):
    """Compiled, the routed experts' input is twice as large where a class says so."""

    def pad(self, x: Tensor) -> Tensor:
        """Or as it is."""
        return super().pad(x) * (2 if torch.compiler.is_compiling() and self.is_wrong(x) else 1)

    def is_wrong(self, x: Tensor) -> bool:
        """Never."""
        return False


class WrongOnSlices(CompiledWrong):
    """For columns of a wider buffer."""

    def is_wrong(self, x: Tensor) -> bool:
        """By the stride."""
        return x.stride(0) != x.shape[1]


class WrongForMany(CompiledWrong):
    """From 190 to 210 tokens."""

    def is_wrong(self, x: Tensor) -> bool:
        """By the tokens."""
        return 190 <= x.shape[0] <= 210


class WrongFromLarge(CompiledWrong):
    """From 250 tokens on."""

    def is_wrong(self, x: Tensor) -> bool:
        """By the tokens."""
        return x.shape[0] >= 250


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("layer", "kind", "name"),
    [
        (WrongOnSlices, "input-form", "compiled=slice"),
        (WrongForMany, "compiled-otherwise", "compiled=201-tokens"),
        (WrongFromLarge, "compiled-otherwise", "compiled=256-tokens"),
    ],
)
def test_what_is_compiled_together_is_told_apart(layer: type[PaddedMoELayer], kind: str, name: str) -> None:
    finding = judge(Planted(layer=layer), SMALL, MODES["varied-compiled"], CPU).findings[0]
    assert (finding.kind, finding.vary) == (kind, name)
    assert ", and " not in finding.call


class FlatWhereCompiled(PaddedMoELayer):
    """Compiled, it takes hidden_states as one row, which columns of a wider buffer are not."""

    def pad(self, x: Tensor) -> Tensor:
        """Eager code takes them as they are."""
        return super().pad(x.view(-1).view(x.shape) if torch.compiler.is_compiling() else x)


def test_what_compiled_code_alone_refuses_is_told_as_torch_says_it() -> None:
    verdict = varied(Planted(layer=FlatWhereCompiled), "compiled=slice")
    assert not verdict.findings
    assert "Cannot view a tensor" in verdict.environment["left out"]


class AtMostOneHundred(PaddedMoELayer):
    """It has room for a hundred rows."""

    def pad(self, x: Tensor) -> Tensor:
        """And says so."""
        if x.shape[0] > 100:
            raise ValueError("at most 100 tokens")
        return super().pad(x)


def test_a_count_that_eager_code_refuses_is_left_out_of_compiled_code() -> None:
    verdict = varied(Planted(layer=AtMostOneHundred), "compiled=201-tokens")
    assert not verdict.findings
    assert verdict.environment["left out"] == "compiled=201-tokens: the layer raises ValueError: at most 100 tokens"
