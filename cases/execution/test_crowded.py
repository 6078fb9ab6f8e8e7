"""Crowded experts, experts in groups, what an earlier verdict left, weights of eight bits, and parts within the noise."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fixtures.corpus import FAULTS
from fixtures.faults.surroundings import SURROUNDINGS
from fixtures.planting import SHARED, SMALL, Planted
from harness.execution.difference import compare
from harness.execution.modes.varied import surroundings
from harness.findings.finding import OK, Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE
from harness.observers.values import diagnose
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
BY_NAME = {fault.id: fault for fault in FAULTS}


def varied(layer: type[PaddedMoELayer], mode: str, *names: str, case: Case = SMALL) -> Verdict:
    chosen = EVERY_MODE[mode]
    return judge(Planted(layer=layer), case, replace(chosen, vary=names) if names else chosen, CPU)


def found(name: str) -> Finding:
    fault = BY_NAME[name]
    (finding,) = judge(fault.subject, fault.cases[0], EVERY_MODE[fault.modes[0]], CPU).findings
    return finding


@pytest.mark.parametrize(
    ("name", "what", "cause"),
    [
        ("generic#counts-by-product", "2 of 262 tokens (260-261) are wrong", "relies on"),
        ("generic#counts-in-default-dtype", " of which choose the same experts, where one of 7 is right", "relies on"),
        (
            "generic#room-of-half-tiles",
            "16 experts, of which each token takes 8: wrong; ",
            "the part of a tile that each expert leaves",
        ),
        (
            "generic#masks-with-zero",
            "16 experts, of which each token takes 8: wrong",
            "zero is chosen before a negative score",
        ),
    ],
)
def test_a_finding_says_what_was_varied_and_why(name: str, what: str, cause: str) -> None:
    finding = found(name)
    assert what in finding.what
    assert cause in finding.cause


def test_groups_are_no_cause_where_the_layer_is_given_its_experts() -> None:
    assert "groups" not in found("generic#four-by-four").cause


def test_nothing_tells_a_router_from_the_experts_that_it_chooses() -> None:
    assert found("generic#masks-with-zero").stage == "layer"


class DirtyAfterErrors(PaddedMoELayer):
    """What the shared expert's buffer holds is taken off when a call ends, and not when it raises."""

    dirt = 0.0

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        self.__dict__["dirt"] += 1.0
        out = super().forward(hidden_states, topk_ids, topk_weights)
        self.__dict__["dirt"] -= 1.0
        return out

    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        out = super().shared_output(hidden_states)
        return out if out is None or self.dirt == 1 else out + self.dirt


def test_what_an_error_left_is_not_told_of_a_part_that_nothing_points_to() -> None:
    (finding,) = varied(DirtyAfterErrors, SURROUNDINGS, "before=errors", case=SHARED).findings
    assert finding.stage == "layer"


class SetsWhereAbsent(PaddedMoELayer):
    """The build sets a variable that is not there."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        os.environ.setdefault("CROWDED_TEST", "1")


class SetsOnce(PaddedMoELayer):
    """The first build of all sets a variable, as the import of a module does."""

    done: ClassVar[list[int]] = []

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        if not self.done:
            self.done.append(1)
            os.environ["CROWDED_TEST"] = "1"


@pytest.fixture
def _variable() -> Iterator[None]:
    SetsOnce.done.clear()
    yield
    os.environ.pop("CROWDED_TEST", None)


@pytest.mark.usefixtures("_variable")
def test_a_variable_that_an_earlier_verdicts_build_set_is_found() -> None:
    assert varied(SetsWhereAbsent, "eager").status == OK
    assert "CROWDED_TEST" in os.environ
    (finding,) = varied(SetsWhereAbsent, SURROUNDINGS, "process=build").findings
    assert finding.what == "building the layer changed the environment variable CROWDED_TEST"


@pytest.mark.usefixtures("_variable")
def test_a_variable_that_no_later_build_sets_is_left_alone() -> None:
    assert varied(SetsOnce, "eager").status == OK
    assert varied(SetsOnce, SURROUNDINGS, "process=build").status == OK
    assert os.environ["CROWDED_TEST"] == "1"


class CountsInEightBits(PaddedMoELayer):
    """A buffer of eight bits changes with each call, and nothing reads it."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.register_buffer("calls", torch.zeros(4).to(torch.float8_e4m3fn), persistent=False)

    def pad(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.calls.copy_((self.calls.float() + 1).clamp(max=8))
        return super().pad(x)


class AddsEightBits(CountsInEightBits):
    """As that one, and the output depends on it."""

    def reduce(self, x: Tensor) -> Tensor:
        return super().reduce(x) + 1e-3 * self.calls[0].to(x.dtype)


def test_state_of_eight_bits_is_overwritten_too() -> None:
    assert varied(CountsInEightBits, "eager").status == OK
    kinds = {finding.kind for finding in varied(AddsEightBits, "eager").findings}
    assert "mutated-state" in kinds


def test_the_mode_of_an_earlier_call_is_not_blamed_where_one_of_several_plain_ones_does_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault = BY_NAME["generic#scaled-as-at-first"]
    mode = replace(EVERY_MODE[SURROUNDINGS], vary=("before=autocast",))
    assert judge(fault.subject, fault.cases[0], mode, CPU).findings
    tries = iter((False, False, True))  # an allocator gives an address again sooner or later
    monkeypatch.setattr(surroundings, "_is_wrong_after_plain", lambda varied: next(tries))
    assert not judge(fault.subject, fault.cases[0], mode, CPU).findings


def test_a_part_whose_factor_is_within_the_noise_is_not_named() -> None:
    generator = torch.Generator().manual_seed(3)
    parts = {"routed": torch.randn(7, 80, generator=generator), "shared": 0.3 * torch.randn(7, 80, generator=generator)}
    whole = parts["routed"] + parts["shared"]
    beside = compare(whole + 3, parts)
    assert beside is not None
    assert abs(beside.factors["shared"] - 1) > 0.1  # by chance
    assert diagnose(SHARED, beside)[0] == "wrong-values"
    other = compare(parts["routed"] + 0.3 * torch.randn(7, 80, generator=generator), parts)
    assert other is not None
    assert diagnose(SHARED, other)[:2] == ("wrong-part", "shared expert")
