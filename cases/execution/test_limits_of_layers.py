"""Sizes between which a layer turns wrong, ranks, totals, aliases, and what a trace or a load leaves: texts of findings."""

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fixtures import corpus
from fixtures.faults.limits import AtLeastOne, FlagOfTrace, Refined, TakenBack, WholeTiles
from fixtures.planting import SHARED, SMALL, Planted
from harness.execution.modes.varied.beside.unsaved import give_unsaved, prepares_at_load
from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.variations import with_variations
from harness.ops.fake_call import FakeCallMode, answer_of_fake, call_fake
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
UNGATED = replace(SMALL, shape=replace(SMALL.shape, gated=False, activation="relu2"))
FAULTS = {fault.id: fault for fault in corpus.FAULTS}


def varied(subject: Planted, case: Case, name: str, mode: str) -> Verdict:
    (chosen,) = with_variations([MODES[mode]], (name,))
    return judge(subject, case, chosen, CPU)


@pytest.mark.parametrize(
    ("fault", "name", "text"),
    [
        ("generic#eight-bits", "sizes=520-experts", "right with 256 experts, wrong with 257 experts"),
        ("generic#sixteen-slots", "sizes=top-23", "right with 16 experts for each token, wrong with 17"),
        ("generic#above-the-next", "sizes=all-experts", "right with 2 experts for each token, wrong with 3 experts"),
        ("generic#rows-cut", "sizes=wide-experts", "right with an inner width of 96, wrong with an inner width of 112"),
        ("generic#rank-of-four", "ranks=8", "right with 4 ranks"),
    ],
)
def test_the_limit_is_told(fault: str, name: str, text: str) -> None:
    entry = FAULTS[fault]
    assert isinstance(entry.subject, Planted)
    finding = varied(entry.subject, entry.cases[0], name, "varied-sizes").findings[0]
    assert text in finding.what
    assert finding.vary == name


class SecondTile(PaddedMoELayer):
    """Wrong where the first projection has a second tile of 128 rows, and none beyond it."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        """Twice as large there."""
        rows = self.w13.shape[1]
        return super().run_experts(x, topk_ids, topk_weights) * (2 if 128 < rows <= 256 else 1)


@pytest.mark.parametrize("case", [SMALL, UNGATED], ids=["gated", "not gated"])
def test_experts_of_one_tile_and_a_part_are_tried(case: Case) -> None:
    finding = varied(Planted(layer=SecondTile), case, "sizes=224-rows", "varied-sizes").findings[0]
    assert "right with an inner width of" in finding.what
    assert not varied(Planted(), case, "sizes=224-rows", "varied-sizes").findings


def test_a_scaling_has_no_limit() -> None:
    (finding,) = varied(Planted(layer=AtLeastOne), SHARED, "sizes=scaling-below-one", "varied-sizes").findings
    assert "right with" not in finding.what
    assert "a clamp" in finding.cause


class NoNarrowOnes(PaddedMoELayer):
    """Wrong at the narrowest width, whatever the other sizes are."""

    def dense(self, x: Tensor) -> Tensor:
        """Twice as large there."""
        return super().dense(x) * (2 if x.shape[1] == 48 else 1)


def test_a_width_is_not_taken_for_a_number_of_experts() -> None:
    assert not varied(Planted(layer=NoNarrowOnes), SMALL, "sizes=520-experts", "varied-sizes").findings
    assert varied(Planted(layer=NoNarrowOnes), SMALL, "sizes=narrow", "varied-sizes").findings


def test_a_total_of_tokens_is_no_number_of_tokens() -> None:
    (finding,) = varied(Planted(layer=Refined), SMALL, "tokens=32800", "varied-tokens").findings
    assert finding.kind == "stale"
    assert "batch 5 of 1,025 tokens each, 5,125 tokens in all" in finding.what


def test_an_alias_of_an_output_is_watched() -> None:
    assert not varied(Planted(layer=TakenBack), SHARED, "calls=64", "varied-caches").findings
    (finding,) = varied(Planted(layer=TakenBack), SHARED, "calls=aliases", "varied-caches").findings
    assert "the output of call 1 after call 2" in finding.what
    assert "storage" in finding.cause


def test_what_a_trace_left_shows_in_eager() -> None:
    (finding,) = varied(Planted(layer=FlagOfTrace), SHARED, "compiled=before-eager", "varied-compiled").findings
    assert finding.kind == "compiled-otherwise"


def test_the_sizes_between_are_compiled_too() -> None:
    (finding,) = varied(Planted(layer=WholeTiles), SHARED, "compiled=256-tokens", "varied-compiled").findings
    found = re.search(r"right compiled for (\d+) tokens, wrong for (\d+)", finding.what)
    assert found is not None
    right, wrong = map(int, found.groups())
    assert wrong == right + 1
    assert wrong % 32 == 0


STATE = [1]


def test_a_fake_that_reads_what_a_real_call_leaves_is_told_from_one_that_counts() -> None:
    count = [0]

    def fake(kind: str) -> None:
        with torch.library._scoped_library(f"limits_{kind}", "FRAGMENT") as library:
            library.define("op(Tensor x) -> Tensor")
            library.impl("op", lambda x: x.clone(), "CPU")

            def answer(x: Tensor) -> Tensor:
                count[0] += 1
                return x.new_empty(STATE[0] if kind == "state" else count[0])

            torch.library.register_fake(f"limits_{kind}::op", answer, lib=library)
            func = getattr(torch.ops, f"limits_{kind}").op.default
            mode, arguments = FakeCallMode(), (torch.ones(3),)
            before = answer_of_fake(mode, func, arguments, {})
            STATE[0] = 2
            call = call_fake(mode, func, arguments, {}, before=before)
            assert (call.before_real is not None) == (kind == "state")
            assert (call.second_outputs != call.outputs) == (kind == "count")

    fake("state")
    fake("count")


class Derived(torch.nn.Module):
    """A module with a number and a role."""

    def __init__(self, top: float, first: float) -> None:
        super().__init__()
        self.top, self.first = top, first


def test_a_number_of_the_weights_is_given_and_a_role_is_not() -> None:
    one, other = Derived(2.5, 1.0), Derived(3.5, 0.0)
    assert give_unsaved(one, other) == ["top"]
    assert (one.top, one.first) == (3.5, 1.0)


def test_who_prepares_at_a_load() -> None:
    hooked = torch.nn.Linear(2, 2)
    assert not prepares_at_load(torch.nn.Sequential(hooked))
    hooked.register_load_state_dict_post_hook(lambda *_: None)
    assert prepares_at_load(torch.nn.Sequential(hooked))
