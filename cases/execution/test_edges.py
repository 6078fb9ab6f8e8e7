"""Variations at the edges: counts between the usual ones, routers that round, weights that a load does not reach, the process."""

import logging
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fixtures.faults.edges import CONFIGURED, FAULTS
from fixtures.faults.reached import DownOfBuild, Lazy, Locked
from fixtures.planting import SHARED, SMALL, Planted
from harness.execution.modes.varied.process import ProcessState, Snapshot
from harness.execution.modes.varied.routing import without_expert
from harness.findings.finding import OK, Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.variations import BETWEEN, SMALL_BATCHES, TOKEN_COUNTS
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
LAYERS, SURROUNDINGS, TOKENS = "varied-layers", "varied-surroundings", "varied-tokens"


def varied(subject: Any, mode: str, *names: str, case: Case = SMALL) -> Verdict:
    return judge(subject, case, replace(MODES[mode], vary=names), CPU)


def planted(name: str) -> Any:
    return next(fault.subject for fault in FAULTS if fault.id == name)


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


def test_no_count_is_tried_twice() -> None:
    counts = [*range(SMALL_BATCHES[0], SMALL_BATCHES[1] + 1), *TOKEN_COUNTS, *BETWEEN]
    assert len(set(counts)) == len(counts)


def test_the_smallest_count_of_a_window_is_named() -> None:
    finding = only(judge(planted("generic#entry-of-table"), SMALL, MODES[TOKENS], CPU))
    assert finding.vary == f"tokens={CONFIGURED[0]}"
    assert f"right at {CONFIGURED[0] - 1} tokens, wrong at {CONFIGURED[0]}" in finding.what


def test_the_smallest_count_beyond_the_usual_ones_is_named() -> None:
    finding = only(judge(planted("generic#row-bits"), SMALL, MODES[TOKENS], CPU))
    assert finding.vary == "tokens=3073"
    assert "right at 3,072 tokens, wrong at 3,073 and at each larger count that was tried (a layer" in finding.what
    assert "a width of 48, padded to 64); 1 of 3,073" in finding.what
    again = only(varied(planted("generic#row-bits"), TOKENS, "tokens=3073"))
    assert "1 of 3,073 tokens (3072)" in again.what


class Routes(nn.Module):
    """Eight small experts, of which the layer itself chooses three, whatever the case says."""

    def __init__(self, hidden: int, doubled: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(hidden)
        self.router = torch.randn(hidden, 8, generator=generator) / math.sqrt(hidden)
        self.experts = torch.randn(8, hidden, hidden, generator=generator) / math.sqrt(hidden)
        self.doubled = doubled

    def forward(self, hidden_states: Tensor) -> Tensor:
        x = hidden_states.float()
        weights, ids = (x @ self.router).softmax(-1).topk(3)
        shares = torch.zeros(len(x), 8).scatter(1, ids, weights.float())
        out = torch.einsum("te,th,ehk->tk", shares, x, self.experts).to(hidden_states.dtype)
        return out * 2 if self.doubled and len(x) > 99 and torch.is_autocast_enabled("cpu") else out


class RoutesItself:
    """A subject of such a layer. Its oracle is the layer itself, in fp32."""

    doubled = False

    def build(self, case: Case, device: torch.device) -> Routes:
        return Routes(case.hidden, self.doubled)

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, ...]:
        return (torch.randn(tokens, case.hidden, generator=torch.Generator().manual_seed(seed)).bfloat16(),)

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> Tensor:
        return case.tp * Routes(case.hidden)(inputs[0].float())

    def ops(self, case: Case) -> tuple[str, ...]:
        return ()


class DoublesManyUnderAutocast(RoutesItself):
    """Wrong for many tokens under autocast alone."""

    doubled = True


def _changes_routing() -> bool:
    (inputs,) = RoutesItself().inputs(SMALL, 264, 0, CPU)
    layer = Routes(SMALL.hidden)
    exact = (inputs.float() @ layer.router).topk(3).indices
    return not torch.equal(exact, (inputs @ layer.router.bfloat16()).topk(3).indices)


def test_a_router_of_the_layer_s_own_that_rounds_one_token_of_many_is_no_finding() -> None:
    assert _changes_routing()
    assert varied(RoutesItself(), SURROUNDINGS, "torch=autocast").status == OK


def test_a_fault_of_many_tokens_in_such_a_layer_is_one() -> None:
    finding = only(varied(DoublesManyUnderAutocast(), SURROUNDINGS, "torch=autocast"))
    assert "a batch of 264 tokens, where one of 7 is right" in finding.what


def test_what_a_build_made_of_a_weight_is_named_with_its_line() -> None:
    finding = only(varied(Planted(layer=DownOfBuild), LAYERS, "weights=each", case=SHARED))
    assert "other values of shared_down, loaded before any call, change nothing" in finding.what
    assert "which the build made of it" in finding.what
    assert finding.line is not None
    assert "self.transposed = " in finding.line.text


def test_a_load_and_a_copy_that_fail_after_a_call_alone_are_findings() -> None:
    assert "Unexpected key(s)" in only(varied(Planted(layer=Lazy), LAYERS, "weights=saved-after-use")).what
    assert "copy.deepcopy raises TypeError" in only(varied(Planted(layer=Locked), LAYERS, "weights=deepcopy")).what


class NeverCopied(PaddedMoELayer):
    """Holds what no copy can hold, from the start."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.frames = (frame for frame in ())


def test_a_layer_that_can_never_be_copied_promises_no_copy() -> None:
    assert varied(Planted(layer=NeverCopied), LAYERS, "weights=deepcopy").status != "findings"


def test_an_expert_is_left_out_and_no_row_names_one_twice() -> None:
    ids = torch.tensor([[0, 1], [2, 0], [1, 2]], dtype=torch.int32)
    for expert in range(3):
        changed = without_expert(ids, 3, expert)
        assert changed is not None
        assert not (changed == expert).any()
        assert all(len(set(row.tolist())) == 2 for row in changed)
    assert without_expert(ids, 2, 0) is None


def test_functions_of_torch_and_levels_of_logging_are_named_and_put_back() -> None:
    before, silu, method = Snapshot(), functional.silu, torch.Tensor.matmul
    level = logging.root.level
    with ProcessState(before) as state:
        vars(functional)["silu"] = lambda x: x
        type.__setattr__(torch.Tensor, "matmul", lambda one, other: one)
        logging.root.setLevel(3)
    assert {"torch.nn.functional.silu", "torch.Tensor.matmul", "the levels of Python's logging"} <= set(state.changed)
    assert functional.silu is silu
    assert torch.Tensor.matmul is method
    assert logging.root.level == level


def test_a_function_that_torch_itself_exchanges_is_not_named() -> None:
    before, seed = Snapshot(), torch.manual_seed
    with ProcessState(before) as state:
        vars(torch)["manual_seed"] = torch._disable_dynamo(seed)  # as the import of torch._dynamo does
    vars(torch)["manual_seed"] = seed
    assert not any("manual_seed" in name for name in state.changed)
