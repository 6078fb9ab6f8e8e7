"""Which part of an output is wrong is said where the output tells it, and by no factor that noise makes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.judged import judged
from fixtures.planting import REAL, SHARED, SHARED_TWO, Planted, with_op
from harness.execution import stages
from harness.execution.difference import compare
from harness.findings.finding import ERROR, Finding
from harness.matrix.modes import EVERY_MODE, ModeInfo
from harness.ops.collectives import all_reduce
from harness.ops.registry import register_op
from harness.verdict.judge import judge
from kernels.layer.experts import SCHEMA, routed_experts
from kernels.layer.layer import PaddedMoELayer

FAKE = routed_experts.fake


class OneColumnOfTheExperts(PaddedMoELayer):
    def unpad(self, x: Tensor) -> Tensor:
        return super().unpad(x) * (1 - 0.2 * (torch.arange(self.width) == 21)).to(x.dtype)


class OneColumnOfTheShared(PaddedMoELayer):
    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        shared = super().shared_output(hidden_states)
        return shared if shared is None else shared * (1 + (torch.arange(shared.shape[1]) == 40)).to(shared.dtype)


class LastColumns(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) * (torch.arange(x.shape[1]) < x.shape[1] - 4).to(x.dtype)


@pytest.mark.parametrize(
    ("layer", "stage", "factor"),
    [
        (OneColumnOfTheExperts, stages.EXPERTS, "In it the routed part is 0.8"),
        (OneColumnOfTheShared, stages.SHARED, "In it the shared part is 1.99 times"),
    ],
)
def test_a_column_in_the_middle_is_no_cut(layer: type[PaddedMoELayer], stage: str, factor: str) -> None:
    finding = judged(layer, SHARED).findings[0]
    assert (finding.kind, finding.stage) == ("wrong-columns", stage)
    assert factor in finding.cause
    assert "the kernel's tail" not in finding.cause


def test_the_last_columns_may_be_the_cut() -> None:
    finding = judged(LastColumns, SHARED).findings[0]
    assert (finding.kind, finding.stage) == ("wrong-columns", stages.UNPAD)
    assert "look at the cut of the padding and at the kernel's tail" in finding.cause


def test_a_wrong_column_of_few_tokens_is_no_factor_of_a_part() -> None:
    generator = torch.Generator().manual_seed(3)
    parts = {name: torch.randn(2, 800, generator=generator) for name in ("routed", "shared")}
    output = parts["routed"] + parts["shared"]
    output[:, 13] += 0.5
    found = compare(output, parts)
    assert found is not None
    assert found.explained, "a column is a small rest"
    assert not found.off


def _of_op(name: str, mode: ModeInfo, *, schema: str = SCHEMA, fake: Any = FAKE) -> list[Finding]:
    op = register_op(f"which_part::{name}", schema, fake=fake)(lambda *arguments: REAL(*arguments))
    verdict = judge(Planted(layer=with_op(op), op=op.name), SHARED, mode, torch.device("cpu"))
    assert verdict.status != ERROR, verdict.traceback
    return list(verdict.findings)


UNTRUE_VIEW = SCHEMA.replace("Tensor hidden_states", "Tensor(a) hidden_states").replace("-> Tensor", "-> Tensor(a)")


def test_a_backend_that_refuses_a_graph_is_a_finding_by_its_text() -> None:
    findings = _of_op(
        "untrue_view", EVERY_MODE["compiled"], schema=UNTRUE_VIEW, fake=lambda *arguments: FAKE(*arguments)
    )
    assert [finding.kind for finding in findings] == ["raised", "untrue-alias"]
    assert "alias annotations that torch.compile does not take" in findings[0].cause


def test_memory_that_an_op_makes_and_declares_a_view_is_not_freed_after_a_capture() -> None:
    findings = _of_op(
        "untrue_view_captured", EVERY_MODE["cudagraph"], schema=UNTRUE_VIEW, fake=lambda *arguments: FAKE(*arguments)
    )
    assert not findings


def _refuses_many(hidden_states: Tensor, *arguments: Any) -> Tensor:
    if hidden_states.shape[0] > 128:
        raise RuntimeError("batch too large")
    return hidden_states.new_empty(hidden_states.shape[0], arguments[9])


def test_what_a_fake_raises_in_a_trace_is_no_fault_of_torch() -> None:
    mode = replace(EVERY_MODE["varied-compiled"], vary=("compiled=256-tokens",))
    findings = _of_op("refuses_many", mode, fake=_refuses_many)
    (raised,) = [finding for finding in findings if finding.kind == "raised"]
    assert "its fake implementation refuses what the layer gives it" in raised.cause
    assert "fault of torch" not in raised.cause


class ReducesTheSharedAlone(PaddedMoELayer):
    """The routed part is the sum over ranks already. The shared part is this rank's."""

    complete = False

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        out: Tensor = routed * self.tp + all_reduce(shared * self.tp if self.complete else shared, self.tp)
        return out

    def reduce(self, x: Tensor) -> Tensor:
        return x


class ReducesACompleteOne(ReducesTheSharedAlone):
    complete = True


@pytest.mark.parametrize(("layer", "multiplied"), [(ReducesTheSharedAlone, False), (ReducesACompleteOne, True)])
def test_a_tensor_is_said_to_be_complete_where_the_output_shows_it(
    layer: type[PaddedMoELayer], multiplied: bool
) -> None:
    (finding,) = [one for one in judged(layer, SHARED_TWO).findings if one.kind == "reduced-beside"]
    assert ("complete already is multiplied" in finding.cause) == multiplied
