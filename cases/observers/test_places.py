"""Where a finding points: to the op that gave the dtype, to the widths of a product that met, and into a custom op."""

from dataclasses import replace
from typing import Any, Never

import pytest
import torch
from torch import Tensor

from fixtures.correct.ops import BOTH, SharedByOp
from fixtures.faults.output import Float32
from fixtures.judged import judged
from fixtures.planting import LATENT, REAL, SHARED, SMALL, SMALL_TWO, Planted, case
from harness.execution import stages
from harness.findings.finding import OK, Finding
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer


class SumsInFloat32(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        return super().reduce(x.float())


class ScaledByATensor(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return x * torch.full((1,), self.scaling)


class SharedInFloat32(PaddedMoELayer):
    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        out = super().shared_output(hidden_states)
        return None if out is None else out.float()


@pytest.mark.parametrize(
    ("layer", "on", "stage"),
    [
        (SumsInFloat32, SMALL_TWO, stages.REDUCE),
        (ScaledByATensor, SMALL, stages.SCALING),
        (SharedInFloat32, SHARED, stages.ADD),
        (Float32, SMALL, stages.OUTPUT),
    ],
)
@pytest.mark.parametrize("mode", ["eager", "fake"])
def test_another_dtype_is_told_where_it_began(layer: type[PaddedMoELayer], on: Case, stage: str, mode: str) -> None:
    found = [finding for finding in judged(layer, on, mode).findings if finding.kind == "wrong-dtype"]
    assert {finding.stage for finding in found} == {stage}
    assert len({str(finding.line) for finding in found}) == 1


class LeavesLatentPadding(PaddedMoELayer):
    def unpad(self, x: Tensor) -> Tensor:
        return x


def _mismatch(layer: type[PaddedMoELayer], on: Case) -> Finding:
    (finding,) = judged(layer, on, "fake").findings
    assert finding.kind == "width-mismatch"
    return finding


def test_a_product_names_the_two_widths_that_met() -> None:
    finding = _mismatch(LeavesLatentPadding, LATENT)
    assert finding.stage == stages.UP
    assert [one.text.split()[0] for one in finding.widths] == [str(LATENT.padded), str(LATENT.width)]
    assert finding.widths[1].stage == "input or weight"


class LatentToShared(PaddedMoELayer):
    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        return super().shared_output(self.to_latent(hidden_states))


def test_a_product_of_the_latent_rows_in_the_shared_expert_names_them() -> None:
    finding = _mismatch(LatentToShared, LATENT)
    assert "latent width reached the shared expert" in finding.cause
    assert [one.text.split()[0] for one in finding.widths] == [str(LATENT.width), str(LATENT.hidden)]


def _refuses(*args: object) -> Never:
    raise RuntimeError("no kernel for these ids")


def test_an_error_inside_an_op_names_its_own_line_and_the_caller() -> None:
    with routed_experts.planted(real=_refuses):
        finding = judged(PaddedMoELayer, case("small")).findings[0]
    assert finding.kind == "op-raised"
    assert finding.line is not None
    assert finding.line.text == 'raise RuntimeError("no kernel for these ids")'
    assert finding.caller is not None
    assert finding.caller.file.endswith("layer.py")


class SharedPart(torch.nn.Module):
    """A part of the layer that an op runs inside."""

    moe_part = "shared"

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.ones(SMALL.width, 16, dtype=x.dtype)


class AnyPart(SharedPart):
    moe_part = ""


@pytest.mark.parametrize(("part", "stage"), [(SharedPart, stages.SHARED), (AnyPart, stages.EXPERTS)])
def test_an_error_in_a_part_inside_an_op_is_at_that_part(part: type[SharedPart], stage: str) -> None:
    def runs_a_part(x: Tensor, *args: object) -> Tensor:
        return part()(x)

    with routed_experts.planted(real=runs_a_part):
        finding = judged(PaddedMoELayer, SMALL).findings[0]
    assert (finding.kind, finding.stage) == ("op-raised", stage)
    assert [one.text.split()[0] for one in finding.widths] == [str(SMALL.padded), str(SMALL.width)]
    assert [one.stage for one in finding.widths] == [stages.PAD, ""]  # no record shows what made the other one
    assert finding.widths[0].line is not None
    assert "functional.pad" in finding.widths[0].line.text


class PadsNothing(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        return x


class PadsHalf(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, (self.padded - self.width) // 2))


class CutsInside(PaddedMoELayer):
    """The rows are padded, and cut inside the op."""


@pytest.mark.parametrize(
    ("layer", "mode", "stage"),
    [
        (PadsNothing, "eager", stages.PAD),
        (PadsHalf, "eager", stages.PAD),
        (CutsInside, "eager", stages.EXPERTS),
        (PadsNothing, "compiled", stages.PAD),
    ],
)
def test_rows_that_are_not_padded_to_the_weights_are_the_pads(
    layer: type[PaddedMoELayer], mode: str, stage: str
) -> None:
    def experts(x: Tensor, *args: object) -> Tensor:
        rows = x[:, : SMALL.width] if layer is CutsInside else x
        return rows @ torch.ones(SMALL.padded, SMALL.hidden // 2, dtype=x.dtype)

    with routed_experts.planted(real=experts, fake=lambda x, *args, **more: x.new_empty(len(x), SMALL.padded)):
        verdict = judged(layer, SMALL, mode)
    (finding,) = [one for one in verdict.findings if one.kind != "fake-differs"]
    assert (finding.kind, finding.stage) == ("op-raised", stage)
    assert ("the rows are not padded to that" in finding.cause) is (stage == stages.PAD)
    assert "fake implementation" not in finding.cause
    assert len(finding.widths) == 2  # the sizes that do not meet are not named
    assert finding.widths[1].text.startswith(str(SMALL.padded))


class PadsRows(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, 0, 0, self.padded - self.width))


@pytest.mark.parametrize(
    ("on", "mode"), [(SMALL, "eager"), (SMALL, "fake"), (SHARED, "fake"), (SHARED, "fake-dynamic")]
)
def test_a_pad_of_rows_in_place_of_columns_is_found_at_the_pad(on: Case, mode: str) -> None:
    def experts(x: Tensor, ids: Tensor, *args: Any) -> Tensor:
        assert len(x) == len(ids), f"{len(x)} != {len(ids)}"
        return x

    with routed_experts.planted(real=experts, fake=lambda x, *args, **more: torch.empty_like(x)):
        finding = judged(PadsRows, on, mode).findings[0]
    assert finding.stage == stages.PAD
    assert f"and leaves their {on.width} columns." in finding.cause
    assert finding.line is not None
    assert finding.kind in ("op-raised", "raised", "wrong-shape")


class CopiesInChunks(PaddedMoELayer):
    """Pads a last chunk with zeros alone."""

    def pad(self, x: Tensor) -> Tensor:
        padded = x.new_zeros(len(x), self.padded)
        whole = len(x) // 4 * 4
        padded[:whole, : self.width] = x[:whole]
        return padded


def test_rows_that_do_not_reach_the_experts_op_are_the_pads() -> None:
    finding = judged(CopiesInChunks, SMALL).findings[0]
    assert finding.stage == stages.PAD
    assert "is given are the layer's own, but zeros for tokens 4-" in finding.cause
    with routed_experts.planted(real=lambda *args: _first_rows_alone(REAL(*args))):
        finding = judged(PaddedMoELayer, SMALL).findings[0]
    assert finding.stage == stages.EXPERTS
    assert "is given are" not in finding.cause


def _first_rows_alone(out: Tensor) -> Tensor:
    return torch.cat((out[:4], torch.zeros_like(out[4:])))


def test_a_width_that_the_experts_op_makes_in_a_trace_is_found_there() -> None:
    with routed_experts.planted(fake=lambda x, *args, **more: x.new_empty(len(x), 0)):
        finding = judged(PaddedMoELayer, SMALL_TWO, "fake").findings[0]
    assert (finding.kind, finding.stage) == ("wrong-shape", stages.EXPERTS)


class AddsIntoShared(SharedByOp):
    """The sum is written into the shared expert's output, which the op returned."""

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        return shared.add_(routed)


@pytest.mark.parametrize("mode", ["eager", "fake", "cudagraph"])
def test_a_sum_in_place_of_another_output_of_the_op_is_routed(mode: str) -> None:
    verdict = judge(
        Planted(layer=AddsIntoShared, op=f"{BOTH}[1]"), replace(SHARED, tp=2), MODES[mode], torch.device("cpu")
    )
    assert not verdict.findings
    assert verdict.status == OK


class LeavesOutRouted(PaddedMoELayer):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        return routed if shared is None else 0 * routed + shared


def test_a_part_that_the_op_returns_as_zeros_is_missing_there() -> None:
    """A layer that leaves a part out where it adds them is found at the add."""

    def experts(*args: Any) -> Tensor:
        return torch.zeros_like(REAL(*args))

    with routed_experts.planted(real=experts):
        (finding,) = judged(PaddedMoELayer, SHARED).findings
    assert (finding.kind, finding.stage) == ("missing-part", stages.EXPERTS)
    assert (
        finding.cause
        == "The routed part is missing from the output. The op of the routed experts returns zeros for it."
    )
    (finding,) = judged(LeavesOutRouted, SHARED).findings
    assert (finding.kind, finding.stage) == ("missing-part", stages.ADD)


def _first_rows(out: Tensor) -> Tensor:
    """The first 64 rows of a tensor, in memory in which nothing writes the others."""
    some = torch.empty_like(out)
    some[:64] = out[:64]
    return some


class LeavesRows(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return _first_rows(super().dense(x))


def test_rows_that_an_op_does_not_write_are_found_at_that_op() -> None:
    def experts(*args: Any) -> Tensor:
        return _first_rows(REAL(*args))

    with routed_experts.planted(real=experts):
        finding = judged(PaddedMoELayer, SMALL, "varied-tokens").findings[0]
    assert (finding.kind, finding.stage) == ("token-count", stages.EXPERTS)
    finding = judged(LeavesRows, SMALL, "varied-tokens").findings[0]
    assert (finding.kind, finding.stage) == ("token-count", "layer")


class ReducesInALoop(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = super().reduce(x)
        return x


def test_one_line_that_reduces_twice_is_named_once() -> None:
    findings = judged(ReducesInALoop, SMALL_TWO).findings
    (finding,) = (one for one in findings if one.kind == "collective-count")
    assert finding.what == "2 all-reduces in one forward; expected 1 at tensor-parallel size 2"
