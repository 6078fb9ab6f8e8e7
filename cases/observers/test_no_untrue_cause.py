"""What a finding says holds where causes look alike: outputs in other memory, replays, parts, and the line that raised."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fixtures.faults.kernels import writes_hidden_states
from fixtures.faults.memory import OutputIsInput, PadOutside
from fixtures.judged import judged, keys
from fixtures.planting import ALIGNED, ALIGNED_SHARED, SHARED, SMALL, Planted
from harness.execution import stages
from harness.execution.difference import Difference
from harness.findings.finding import Finding, Verdict
from harness.matrix.modes import MODES
from harness.observers.values import diagnose
from harness.verdict.bisect import DYNAMO, EAGER, _worded
from harness.verdict.judge import judge
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
_IN_A_REPLAY = {"uninitialised", "padding-tokens-leak", "stale-replay", "token-count"}


def varied(layer: type[PaddedMoELayer], *names: str) -> Verdict:
    """The verdict of the mode varied-tokens, of these variations alone."""
    return judge(Planted(layer=layer), SMALL, replace(MODES["varied-tokens"], vary=names), CPU)


@pytest.mark.parametrize("mode", ["cudagraph", "cudagraph-dynamic"])
def test_an_output_in_an_input_is_no_unwritten_memory(mode: str) -> None:
    verdict = judged(OutputIsInput, SMALL, mode)
    assert ("alias", "shared-output", stages.OUTPUT) in keys(verdict)
    assert not {finding.kind for finding in verdict.findings} & _IN_A_REPLAY


def test_an_output_in_an_input_has_no_token_count() -> None:
    kinds = {finding.kind for finding in varied(OutputIsInput, "captured=136").findings}
    assert "shared-output" in kinds
    assert not kinds & _IN_A_REPLAY


class AddsToItsOwnBuffer(PaddedMoELayer):
    """The output is a buffer of the layer's, to which each call adds."""

    sums: Tensor

    def dense(self, x: Tensor) -> Tensor:
        if "sums" not in dict(self.named_buffers()):
            self.register_buffer("sums", x.new_zeros(64, x.shape[1]))
        return self.sums[: x.shape[0]].add_(x)


def test_a_replay_that_reads_the_layers_own_output_buffer_reads_no_unwritten_memory() -> None:
    kinds = {finding.kind for finding in judged(AddsToItsOwnBuffer, SMALL, "cudagraph").findings}
    assert "stale-replay" in kinds
    assert "uninitialised" not in kinds


def test_a_replay_that_is_wrong_at_the_cases_own_tokens_is_no_matter_of_their_number() -> None:
    (finding,) = varied(PadOutside, "captured=136").findings
    assert finding.kind == "stale-replay"
    assert f"a replay of a graph for {SMALL.tokens} tokens too" in finding.what
    assert "tile" not in finding.cause


class PadOutsideAbove64(PadOutside):
    def pad(self, x: Tensor) -> Tensor:
        return super().pad(x) if x.shape[0] > 64 else PaddedMoELayer.pad(self, x)


def test_a_replay_that_is_wrong_for_many_tokens_alone_is() -> None:
    (finding,) = varied(PadOutsideAbove64, "captured=136").findings
    assert finding.kind == "token-count"


class SharedLast(PaddedMoELayer):
    """The shared expert reads hidden_states when the routed experts have run."""

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        routed = self.unpad(self.run_experts(self.pad(hidden_states), topk_ids, topk_weights))
        return self.add_shared(self.scale(routed), self.shared_output(hidden_states))


@pytest.mark.parametrize(
    ("layer", "case", "reads"),
    [(SharedLast, ALIGNED_SHARED, True), (PaddedMoELayer, ALIGNED_SHARED, False), (PaddedMoELayer, ALIGNED, False)],
)
def test_the_shared_expert_is_named_where_it_reads_what_an_op_overwrote(
    layer: type[PaddedMoELayer], case: object, reads: bool
) -> None:
    with routed_experts.planted(real=writes_hidden_states):
        found = judged(layer, case).findings  # type: ignore[arg-type]
    (written,) = (one for one in found if one.kind == "mutated-input")
    assert ("such as the shared expert" in written.cause) == reads


class BranchesFirst(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        if not torch.isfinite(hidden_states).all():
            hidden_states = torch.nan_to_num(hidden_states)
        return super().forward(hidden_states, topk_ids, topk_weights)


class BranchesOnWeights(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        return super().run_experts(x, topk_ids, -topk_weights if topk_weights.sum() < 0 else topk_weights)


class BranchesAfterShared(PaddedMoELayer):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        if shared is not None and not torch.isfinite(shared).all():
            shared = torch.nan_to_num(shared)
        return super().add_shared(routed, shared)


class RefusesRows(PaddedMoELayer):
    """An op of torch's raises before the routed experts, and is not the shared expert's."""

    def pad(self, x: Tensor) -> Tensor:
        return super().pad(torch.nn.functional.pixel_shuffle(x, 2))


@pytest.mark.parametrize("mode", ["fake", "fake-dynamic"])
@pytest.mark.parametrize("layer", [BranchesFirst, BranchesOnWeights, BranchesAfterShared])
def test_a_branch_on_data_is_at_no_part_that_its_line_is_not_of(layer: type[PaddedMoELayer], mode: str) -> None:
    assert keys(judged(layer, SHARED, mode)) == [("widths", "raised", "layer")]


def test_an_op_before_the_experts_is_not_the_shared_experts_for_want_of_another() -> None:
    finding = judged(RefusesRows, SHARED).findings[0]
    assert (finding.kind, finding.stage) == ("raised", "layer")


class OtherWeights(PaddedMoELayer):
    """The routed part alone is wrong, in another way for each token."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        return super().run_experts(x, topk_ids.flip(0), topk_weights)


def _of(factors: dict[str, float], off: tuple[str, ...], noise: float) -> str:
    columns, tokens = list(range(80)), list(range(7))
    found = Difference(columns, tokens, 1.0, 80, factors, False, off, noise=dict.fromkeys(factors, noise))
    kind, _, cause = diagnose(SHARED, found)
    assert kind == "wrong-values"
    return cause


def test_a_search_for_a_part_does_not_deny_what_it_cannot_exclude() -> None:
    assert "it may be the routed part alone" in _of({"routed": 0.967, "shared": 0.999}, ("routed",), 0.01)
    # What nothing explains moves a factor as far: it does not point at a part.
    assert "which this output does not tell" in _of({"routed": 0.967, "shared": 0.999}, ("routed",), 0.05)
    assert "which this output does not tell" in _of({"routed": 0.967, "shared": 0.9}, ("routed", "shared"), 0.05)
    assert "which this output does not tell" in _of({"routed": 0.2, "shared": 1.0}, ("routed",), 0.5)
    for finding in judged(OtherWeights, SHARED).findings:
        assert "No single part" not in finding.cause


def test_dynamo_is_not_blamed_for_what_it_refuses() -> None:
    def of(kind: str, what: str = "Data-dependent branching", failure: str = "") -> Finding:
        return Finding(observer="widths", kind=kind, stage="layer", what=what, cause="", detail={"failure": failure})

    refuses = f"{DYNAMO}, which refuses the layer's code"
    assert _worded(of("graph-break"), DYNAMO) == refuses
    assert _worded(of("raised", failure="data-dependent"), DYNAMO) == refuses
    assert _worded(of("raised"), DYNAMO) == _worded(of("graph-break", "InternalTorchDynamoError: x"), DYNAMO) == DYNAMO
    assert _worded(of("graph-break"), EAGER) == EAGER
