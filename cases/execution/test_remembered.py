"""Variations of what a layer remembers, and what their findings are blamed on."""

import os
from collections import deque
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.by_name import BY_FORM
from fixtures.faults.remembered import OnesOfSize, ScaleByVersion
from fixtures.judged import judged
from fixtures.planting import SHARED, SMALL, Planted
from harness.execution.capture import OpGraph
from harness.execution.evidence import Varied
from harness.execution.modes.varied.checks import MANY_CALLS, place_of
from harness.execution.modes.varied.routing import missing_ids
from harness.execution.modes.varied.varied_run import VariedRun
from harness.execution.rig import Rig
from harness.findings.finding import OK, Verdict
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
SURROUNDINGS = "varied-surroundings"
VARIABLE = "HARNESS_TEST_VARIABLE"


def varied(layer: type[PaddedMoELayer], *names: str, mode: str, case: Any = SMALL, kind: Any = Planted) -> Verdict:
    return judge(kind(layer=layer), case, replace(MODES[mode], vary=names), CPU)


def test_each_slot_is_missing_beside_the_first_expert_and_the_last_and_no_id_comes_twice() -> None:
    ids = torch.stack([torch.arange(row, row + 3) % 5 for row in range(18)]).int()
    changed, missing = missing_ids(ids, 5)
    live = [row[~gone].tolist() for row, gone in zip(changed, missing, strict=True)]
    assert all(len(set(row.tolist())) == 3 for row in changed)
    assert {int(slot) for slot in missing.nonzero()[:, 1]} == {0, 1, 2}
    assert all(0 in row for row in live[:3])
    assert all(4 in row for row in live[3:6])
    assert [len(row) for row in live[6:9]] == [1, 1, 1]


def test_of_one_slot_every_second_row_is_missing() -> None:
    assert missing_ids(torch.zeros(4, 1, dtype=torch.int32), 3)[1].flatten().tolist() == [True, False, True, False]


@pytest.mark.parametrize("ring", [2, 8, 16, 32, 48, 100, 256])
def test_no_ring_gets_the_same_batch_in_each_turn(ring: int) -> None:
    pairs = [(place_of(number), place_of(number + ring)) for number in range(MANY_CALLS)]
    assert any(one != other for one, other in pairs)


def test_what_a_capture_made_has_no_contents_and_what_was_there_before_keeps_it() -> None:
    weight, given = torch.ones(3), torch.ones(3)
    made: dict[str, Tensor] = {}

    def call(x: Tensor) -> Tensor:
        made["numbers"], made["ids"] = x * 2, torch.arange(3) + 1
        return made["numbers"] + weight

    graph = OpGraph()
    out = graph.capture(call, (given,))
    graph.empty()
    assert made["numbers"].isnan().all()
    assert made["ids"].tolist() == [0, 0, 0]
    assert weight.tolist() == [1, 1, 1]
    graph.replay()
    assert out.tolist() == [3, 3, 3]
    assert made["ids"].tolist() == [1, 2, 3]


class Recent(PaddedMoELayer):
    """Statistics of the last hundred calls."""

    def reduce(self, x: Tensor) -> Tensor:
        """Append."""
        out = super().reduce(x)
        self.__dict__.setdefault("recent", deque(maxlen=100)).append(out.abs().sum())
        return out


class RingOfHundred(PaddedMoELayer):
    """Outputs lie in a hundred buffers in turn."""

    def reduce(self, x: Tensor) -> Tensor:
        """Copy into the next one."""
        out = super().reduce(x)
        ring = self.__dict__.setdefault("ring", [])
        ring.append(ring.pop(0) if len(ring) == 100 else torch.empty_like(out))
        return ring[-1].copy_(out)  # type: ignore[no-any-return]


def test_memory_of_a_fixed_number_of_calls_is_no_leak() -> None:
    assert varied(Recent, "memory=40-calls", mode=SURROUNDINGS).status == OK


def test_an_output_that_a_ring_overwrites_is_named_with_the_call() -> None:
    (finding,) = varied(RingOfHundred, "memory=40-calls", mode=SURROUNDINGS).findings
    assert (finding.kind, finding.stage) == ("output-overwritten", "output")
    assert "the output of call 1 after call 101" in finding.what


def test_a_write_past_what_a_layer_watches_is_tried_by_name() -> None:
    (finding,) = varied(ScaleByVersion, "weights=written-in-place", mode="varied-layers").findings
    assert (finding.kind, finding.vary) == ("other-weights", "weights=written-in-place")
    assert judged(ScaleByVersion, SMALL, "varied-layers").status == OK
    assert varied(PaddedMoELayer, "weights=written-in-place", mode="varied-layers").status == OK


def test_a_capture_of_a_size_that_never_ran_is_tried_by_name() -> None:
    (finding,) = varied(OnesOfSize, "graphs=not-warmed-up", mode="varied-caches").findings
    assert (finding.kind, finding.vary) == ("uninitialised", "graphs=not-warmed-up")
    assert judged(OnesOfSize, SMALL, "varied-caches").status == OK
    assert varied(PaddedMoELayer, "graphs=not-warmed-up", mode="varied-caches").status == OK


def test_a_fake_on_transposed_inputs_is_tried_by_name() -> None:
    subject = BY_FORM
    named = judge(subject, SMALL, replace(MODES["varied-forms"], vary=("form=transposed-fakes",)), CPU)
    assert {finding.kind for finding in named.findings} == {"fake-differs"}
    assert judge(subject, SMALL, MODES["varied-forms"], CPU).status == OK
    assert varied(PaddedMoELayer, "form=transposed-fakes", mode="varied-forms").status == OK


class SetsWhatIsSet(PaddedMoELayer):
    """Each call sets a variable of the environment to the value that it has here, and may not have elsewhere."""

    def reduce(self, x: Tensor) -> Tensor:
        """Set it."""
        os.environ[VARIABLE] = "1"
        return super().reduce(x)


def test_a_variable_that_is_set_to_what_it_is_counts_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.putenv
    monkeypatch.setenv(VARIABLE, "1")
    (finding,) = varied(SetsWhatIsSet, "process=calls", mode=SURROUNDINGS).findings
    assert finding.kind == "global-state"
    assert VARIABLE in finding.what
    assert os.putenv is real


class WrongFromSixty(PaddedMoELayer):
    """Wrong from 60 tokens on, at every size."""

    def reduce(self, x: Tensor) -> Tensor:
        """Twice the output."""
        return super().reduce(x) * (2 if x.shape[0] >= 60 else 1)


def test_a_token_count_is_not_blamed_on_the_narrowest_size() -> None:
    assert varied(WrongFromSixty, "sizes=narrow", mode="varied-sizes").status == OK


class WrongWhereNarrow(PaddedMoELayer):
    """Wrong from 60 tokens on where it has two experts."""

    def reduce(self, x: Tensor) -> Tensor:
        """Twice the output."""
        return super().reduce(x) * (2 if x.shape[0] >= 60 and self.w2.shape[0] == 2 else 1)


def test_a_token_count_of_narrow_layers_alone_is() -> None:
    (finding,) = varied(WrongWhereNarrow, "sizes=narrow", mode="varied-sizes").findings
    assert finding.kind == "other-sizes"


class WrongInBfloat16(PaddedMoELayer):
    """Wrong for many tokens, with a default dtype of bfloat16 or without."""

    with_mode = torch.bfloat16

    def reduce(self, x: Tensor) -> Tensor:
        """Twice the output."""
        many = x.shape[0] > 200 and torch.get_default_dtype() == self.with_mode
        return super().reduce(x) * (2 if many else 1)


class WrongInAnyDtype(WrongInBfloat16):
    """Wrong for many tokens."""

    with_mode = property(lambda self: torch.get_default_dtype())


def test_many_tokens_in_a_mode_are_blamed_on_the_mode_only_where_they_are_right_without() -> None:
    (finding,) = varied(WrongInBfloat16, "torch=default-bfloat16", mode=SURROUNDINGS).findings
    assert " of which choose the same experts, where one of 7 is right)" in finding.what
    assert varied(WrongInAnyDtype, "torch=default-bfloat16", mode=SURROUNDINGS).status == OK


class AfterFortyCalls(PaddedMoELayer):
    """Another path after forty calls."""

    def reduce(self, x: Tensor) -> Tensor:
        """Twice the output."""
        self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
        return super().reduce(x) * (2 if self.__dict__["calls"] > 40 else 1)


def test_what_earlier_calls_make_wrong_is_no_token_count() -> None:
    (finding,) = judged(AfterFortyCalls, SMALL, "varied-tokens").findings
    assert finding.kind == "stale"
    assert "wrong on a layer that was called before; right on another one" in finding.what


class RepacksEachLoad(PaddedMoELayer):
    """Each load of weights repacks them once more."""

    def _load_from_state_dict(self, *arguments: Any, **more: Any) -> None:
        super()._load_from_state_dict(*arguments, **more)
        self.w2_global_scale.mul_(1.5)


def test_a_plain_save_and_load_is_the_smallest_scenario() -> None:
    (finding,) = varied(RepacksEachLoad, "weights=loaded-again", mode="varied-layers").findings
    assert finding.vary == "weights=restored"
    assert finding.what.startswith("its own weights, saved and loaded before any call: wrong")
    (same,) = varied(RepacksEachLoad, "weights=restored", mode="varied-layers").findings
    assert same.what == finding.what


class PairsOfRanks(Planted):
    """Ranks two and three hold the shards of zero and one."""

    def build(self, case: Any, device: torch.device) -> PaddedMoELayer:
        """Of the rank within a pair."""
        return super().build(replace(case, rank=(case.rank or 0) % 2), device)


def test_ranks_that_hold_the_same_shard_are_named() -> None:
    finding = varied(PaddedMoELayer, "ranks=4", mode="varied-sizes", case=SHARED, kind=PairsOfRanks).findings[0]
    assert finding.stage == "layer"
    assert "the sum of 4 ranks, where rank 2 gives what rank 0 does and rank 3 gives what rank 1 does" in finding.what


class ZeroFromRow512(PaddedMoELayer):
    """Zeros the last row of a batch of more than 512 tokens, unless it is a row of zeros itself, which is right there."""

    def reduce(self, x: Tensor) -> Tensor:
        """Zero by place."""
        out = super().reduce(x)
        return torch.cat((out[:512], torch.zeros_like(out[512:])))


def test_rows_that_are_wrong_by_their_place_are_not_held_by_their_contents() -> None:
    rig = Rig(Planted(layer=ZeroFromRow512), SMALL, torch.device("cpu"), "varied-tokens")
    run = VariedRun(rig, SMALL.tokens)
    hidden, ids, weights = rig.inputs(513, 3)
    weights[511] = 0  # its output is zero, so that it is right in any place
    hidden[511] = 0
    call = run.call(Varied("tokens=513", "513 tokens"), (hidden, ids, weights))
    assert call.fresh_differs
    assert not call.right_in_other_order
