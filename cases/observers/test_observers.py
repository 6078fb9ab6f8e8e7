"""Each observer reports the faults that are its business, and says nothing of the right layer."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fixtures.faults.batches import (
    FailsAtZero,
    WrongAbove64,
    WrongAtOne,
)
from fixtures.faults.fakes import (
    fake_float32,
    fake_meta,
    fake_offset,
    fake_padded,
    fake_reads_data,
)
from fixtures.faults.graphs import (
    GrownBuffer,
    ResizedBuffer,
    ScaleOfAllRows,
)
from fixtures.faults.kernels import (
    leaves_columns,
    raises_at_zero,
    reads_on_host,
    returns_hidden_states,
    writes_hidden_states,
    writes_scale,
)
from fixtures.faults.memory import (
    KeepsFirstInput,
    OutputInBuffer,
    OutputIsInput,
    OutputReused,
    WritesRouting,
    WritesWeights,
)
from fixtures.faults.output import (
    Bypass,
    Float32,
    LastColumnZero,
    Transposed,
    WrongToken,
)
from fixtures.faults.reduce import (
    NeverReduced,
    ReducedInParts,
    ReducedTwice,
    StridedReduce,
)
from fixtures.faults.shared import (
    NoShared,
    NotScaled,
    ScaledOddly,
    ScaledTwice,
    SharedReadsLatent,
    SharedScaled,
)
from fixtures.faults.tracing import (
    Branches,
    BreaksGraph,
    CountsLayers,
    ManyTokens,
    OddAndEven,
    ReadsItem,
    TokensAsNumber,
)
from fixtures.faults.unpad import (
    EmptyPad,
    LeakedColumn,
    LeakedQuietly,
    NoUnpad,
    Shifted,
)
from fixtures.judged import Key, judged, keys
from fixtures.planting import ALIGNED_SHARED
from harness.execution import stages
from harness.findings.finding import FINDINGS, OK, Finding, Verdict
from harness.matrix.case import Case
from harness.matrix.modes import MODES, by_default
from harness.matrix.shapes import Alignment, Shape
from harness.observers import OBSERVERS, RAISING
from harness.ops.registry import register_op
from harness.verdict.judge import judge
from harness.verdict.known_bugs import SHOWS_AS
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree

CPU = torch.device("cpu")
RULE = Alignment("test", 64, 32, 32)
REAL = routed_experts.reals["cpu"]

PLAIN = Shape("plain", 80, 48, 4, 2, None, None, "silu", True)  # 80 is padded to 128
SHARED = replace(PLAIN, name="shared", shared_intermediate=48)
LATENT = replace(SHARED, name="latent", hidden=160, latent=80)
SHAPES = {"plain": PLAIN, "shared": SHARED, "latent": LATENT, "aligned": replace(PLAIN, name="aligned", hidden=128)}


def case_of(name: str, kernel: str = "wide", tp: int = 1, tokens: int = 7) -> Case:
    return Case.of(SHAPES[name], RULE, kernel, tp, tokens)


# Layers, each with one fault; most are the corpus'.


class Pair(PaddedMoELayer):
    def dense(self, x: Tensor) -> Any:
        return super().dense(x), None


class OneRowMore(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return functional.pad(super().dense(x), (0, 0, 0, 1))


class WritesInput(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        hidden_states.zero_()
        return out


class WritesInputAtOneToken(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        if hidden_states.shape[0] == 1:
            hidden_states.zero_()
        return out


class GateUpSwapped(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        half = self.w13.shape[1] // 2
        kept = self.w13, self.w13_scale
        self.w13, self.w13_scale = (tensor.roll(half, 1) for tensor in kept)
        out = super().run_experts(x, topk_ids, topk_weights)
        self.w13, self.w13_scale = kept
        return out


class RandomColumns(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape[0], 64, generator=torch.Generator().manual_seed(5))
        return torch.cat((super().dense(x)[..., :-64], noise.to(x.dtype)), -1)


class SharedReadsLatentPadded(PaddedMoELayer):
    """The shared expert is given the latent tensor, padded with zeros to fit."""

    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        latent = self.to_latent(hidden_states)
        return super().shared_output(functional.pad(latent, (0, hidden_states.shape[-1] - self.width)))


class Exits(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        raise SystemExit(3)


class Drifts(PaddedMoELayer):
    """A little more at each call, below any tolerance."""

    def dense(self, x: Tensor) -> Tensor:
        count = self.__dict__.setdefault("count", [0])
        count[0] += 1
        return super().dense(x) * (1 + count[0] / 2**11)


class LooksAtInference(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return super().scale(x) * (1.01 if torch.is_inference_mode_enabled() else 1)


class TakesRandomNumbers(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + 0 * torch.rand(1).to(x.dtype)


class LeavesDeterminism(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        torch.use_deterministic_algorithms(False)
        return super().dense(x)


class Unused(PaddedMoELayer):
    """Runs the op, and computes its result without it."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        super().run_experts(x, topk_ids, topk_weights)
        weights = self.op_weights()
        return REAL(x, topk_ids, topk_weights, *weights, self.activation, self.out_width, self.swizzled_scales)


class MakesTensor(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) * torch.FloatTensor([1.0]).to(x.dtype)


class BitTooLarge(PaddedMoELayer):
    """By less than one percent, which no column shows."""

    def scale(self, x: Tensor) -> Tensor:
        return (super().scale(x.float()) * 1.009).to(x.dtype)


class OnMeta(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x).to("meta")


def bugs(verdict: Verdict) -> set[str]:
    return {bug.split()[0] for finding in verdict.findings for bug in finding.similar_to}


WIDE, NARROW, TWO = case_of("plain"), case_of("plain", "narrow"), case_of("plain", tp=2)
WITH_SHARED, WITH_LATENT = case_of("shared"), case_of("latent")
SHARED_TWO = case_of("shared", tp=2)

# layer, case, mode, what the verdict must hold, whether nothing else may be in it, public bugs
FAULTS: tuple[tuple[type[PaddedMoELayer], Case, str, Key, str, set[str]], ...] = (
    (NoUnpad, WIDE, "fake", ("widths", "wrong-shape", stages.UNPAD), "alone", set()),
    (NoUnpad, WIDE, "fake-dynamic", ("widths", "wrong-shape", stages.UNPAD), "alone", set()),
    (NoUnpad, WIDE, "cudagraph", ("widths", "wrong-shape", stages.UNPAD), "alone", set()),
    (NoUnpad, WIDE, "eager", ("widths", "wrong-shape", stages.UNPAD), "first", set()),
    (NoUnpad, WITH_SHARED, "eager", ("widths", "width-mismatch", stages.ADD), "alone", {"vllm#35949", "vllm#41184"}),
    (NoUnpad, WITH_SHARED, "fake-dynamic", ("widths", "width-mismatch", stages.ADD), "alone", {"vllm#35949"}),
    (NoUnpad, WITH_SHARED, "compiled", ("widths", "width-mismatch", stages.ADD), "alone", {"vllm#35949"}),
    (NoUnpad, WITH_LATENT, "eager", ("widths", "width-mismatch", stages.UP), "alone", set()),
    (StridedReduce, WIDE, "eager", ("widths", "strided-output", stages.UNPAD), "alone", {"vllm#40794"}),
    (StridedReduce, WIDE, "fake", ("widths", "strided-output", stages.UNPAD), "alone", {"vllm#40794"}),
    (StridedReduce, WIDE, "fake-dynamic", ("widths", "strided-output", stages.UNPAD), "alone", {"vllm#40794"}),
    (StridedReduce, WIDE, "cudagraph", ("widths", "strided-output", stages.UNPAD), "alone", {"vllm#40794"}),
    (Transposed, WITH_LATENT, "eager", ("widths", "strided-output", stages.UNPAD), "alone", set()),
    (Float32, WIDE, "eager", ("widths", "wrong-dtype", stages.OUTPUT), "alone", set()),
    (Pair, WIDE, "eager", ("widths", "not-a-tensor", stages.OUTPUT), "alone", set()),
    (OneRowMore, WIDE, "eager", ("widths", "wrong-shape", stages.OUTPUT), "alone", set()),
    (
        SharedReadsLatent,
        WITH_LATENT,
        "eager",
        ("widths", "width-mismatch", stages.SHARED),
        "alone",
        {"vllm#34087"},
    ),
    (Bypass, WIDE, "eager", ("dispatch", "never-dispatched", stages.EXPERTS), "alone", set()),
    (Bypass, WIDE, "fake", ("dispatch", "never-dispatched", stages.EXPERTS), "alone", set()),
    (Bypass, WIDE, "cudagraph", ("dispatch", "never-dispatched", stages.EXPERTS), "alone", set()),
    (WritesInput, WITH_SHARED, "eager", ("alias", "mutated-input", "layer"), "alone", {"vllm#28942"}),
    (WritesInput, WIDE, "eager", ("alias", "mutated-input", "layer"), "alone", set()),
    (WritesInput, WIDE, "compiled", ("alias", "mutated-input", "layer"), "alone", set()),
    (WritesRouting, WIDE, "eager", ("alias", "mutated-input", "layer"), "alone", set()),
    (WritesInputAtOneToken, WIDE, "eager", ("alias", "mutated-input", "layer"), "alone", set()),
    (WritesWeights, WIDE, "eager", ("alias", "mutated-state", "layer"), "first", set()),
    (Drifts, WIDE, "eager", ("repeated call", "not-repeatable", "layer"), "alone", set()),
    (LooksAtInference, WITH_SHARED, "eager", ("repeated call", "not-repeatable", "layer"), "alone", set()),
    (TakesRandomNumbers, WIDE, "eager", ("global state", "global-state", "layer"), "alone", set()),
    (LeavesDeterminism, WIDE, "eager", ("global state", "global-state", "layer"), "alone", set()),
    (Unused, WIDE, "eager", ("dispatch", "unused", stages.EXPERTS), "alone", set()),
    (Unused, WITH_SHARED, "cudagraph", ("dispatch", "unused", stages.EXPERTS), "alone", set()),
    (MakesTensor, WIDE, "cudagraph", ("capture", "capture-refused", "capture"), "alone", set()),
    (BitTooLarge, case_of("shared", tokens=33), "eager", ("values", "scaled", stages.SCALING), "first", set()),
    (OnMeta, WIDE, "compiled", ("widths", "wrong-device", stages.OUTPUT), "first", set()),
    (OutputInBuffer, WIDE, "eager", ("alias", "shared-output", stages.OUTPUT), "some", set()),
    (OutputIsInput, WIDE, "eager", ("alias", "shared-output", stages.OUTPUT), "some", set()),
    (OutputReused, WIDE, "eager", ("second call", "output-overwritten", stages.OUTPUT), "alone", set()),
    (KeepsFirstInput, WIDE, "eager", ("second call", "stale", stages.EXPERTS), "alone", set()),
    (KeepsFirstInput, WIDE, "cudagraph", ("second call", "stale-replay", stages.EXPERTS), "alone", set()),
    (LeakedQuietly, WIDE, "eager", ("poison", "padding-leaks", stages.UNPAD), "alone", set()),
    (LeakedQuietly, WITH_SHARED, "eager", ("poison", "padding-leaks", stages.UNPAD), "alone", set()),
    (LeakedColumn, WIDE, "eager", ("poison", "padding-leaks", stages.UNPAD), "first", set()),
    (EmptyPad, WIDE, "eager", ("poison", "uninitialised", stages.PAD), "alone", set()),
    (EmptyPad, WIDE, "cudagraph", ("poison", "uninitialised", stages.PAD), "alone", set()),
    (Shifted, WIDE, "cudagraph", ("values", "wrong-columns", stages.UNPAD), "alone", set()),
    (Shifted, WITH_SHARED, "cudagraph", ("values", "wrong-columns", stages.UNPAD), "alone", set()),
    (LastColumnZero, WIDE, "eager", ("values", "wrong-columns", stages.UNPAD), "first", set()),
    (LastColumnZero, WITH_SHARED, "cudagraph", ("values", "wrong-columns", stages.UNPAD), "alone", set()),
    (ScaledTwice, WITH_SHARED, "eager", ("values", "scaled", stages.SCALING), "first", {"vllm#45037"}),
    (ScaledTwice, WITH_LATENT, "cudagraph", ("values", "scaled", stages.SCALING), "alone", {"vllm#45037"}),
    (NotScaled, WITH_SHARED, "eager", ("values", "scaled", stages.SCALING), "first", set()),
    (ScaledOddly, WITH_SHARED, "eager", ("values", "scaled", stages.SCALING), "first", set()),
    (NoShared, WITH_SHARED, "eager", ("values", "missing-part", stages.ADD), "first", set()),
    (SharedReadsLatentPadded, WITH_LATENT, "eager", ("values", "wrong-part", stages.SHARED), "first", {"vllm#34087"}),
    (GateUpSwapped, WIDE, "eager", ("values", "wrong-values", stages.EXPERTS), "first", set()),
    (GateUpSwapped, WITH_SHARED, "eager", ("values", "wrong-part", stages.EXPERTS), "first", set()),
    (RandomColumns, WIDE, "eager", ("values", "wrong-columns", stages.UNPAD), "first", set()),
    (FailsAtZero, WIDE, "eager", ("widths", "raised", "amax"), "alone", set()),
    (WrongAtOne, WIDE, "eager", ("tokens", "few-tokens", "layer"), "alone", set()),
    (WrongAbove64, WIDE, "varied-tokens", ("varied", "token-count", stages.SCALING), "alone", set()),
    (StridedReduce, TWO, "eager", ("collectives", "not-contiguous", stages.REDUCE), "alone", {"vllm#40794"}),
    (StridedReduce, TWO, "cudagraph", ("collectives", "not-contiguous", stages.REDUCE), "alone", {"vllm#40794"}),
    (StridedReduce, TWO, "compiled", ("collectives", "not-contiguous", stages.REDUCE), "alone", {"vllm#40794"}),
    (ReducedTwice, TWO, "eager", ("values", "reduced-twice", stages.REDUCE), "first", set()),
    (ReducedTwice, TWO, "fake", ("collectives", "collective-count", stages.REDUCE), "alone", set()),
    (NeverReduced, TWO, "eager", ("values", "not-reduced", stages.REDUCE), "first", set()),
    (NeverReduced, TWO, "fake", ("collectives", "collective-count", stages.REDUCE), "alone", set()),
    (ReducedInParts, SHARED_TWO, "eager", ("collectives", "collective-count", stages.REDUCE), "alone", set()),
    (TokensAsNumber, WIDE, "fake-dynamic", ("recompiles", "specialised", "layer"), "some", set()),
    (TokensAsNumber, WIDE, "compiled-dynamic", ("recompiles", "specialised", "layer"), "alone", set()),
    (CountsLayers, WIDE, "compiled", ("recompiles", "recompiled", "layer"), "alone", set()),
    (BreaksGraph, WIDE, "compiled", ("graph breaks", "graph-break", "layer"), "alone", set()),
    (ReadsItem, WIDE, "cudagraph", ("capture", "capture-refused", "capture"), "alone", set()),
    (Branches, WIDE, "cudagraph", ("capture", "capture-refused", "capture"), "alone", set()),
    (GrownBuffer, WIDE, "cudagraph-dynamic", ("addresses", "freed-memory", "replay"), "alone", {"vllm#50386"}),
    (ResizedBuffer, WIDE, "cudagraph-dynamic", ("addresses", "freed-memory", "replay"), "alone", {"vllm#50386"}),
    (ScaleOfAllRows, WIDE, "cudagraph-dynamic", ("poison", "padding-tokens-leak", stages.EXPERTS), "alone", set()),
)


def _name(fault: tuple[Any, ...]) -> str:
    layer, case, mode, *_ = fault
    return f"{layer.__name__}-{case.model}-tp={case.tp}-{mode}"


@pytest.mark.parametrize("fault", FAULTS, ids=_name)
def test_a_faulty_layer_is_found_by_the_observer_whose_business_it_is(fault: tuple[Any, ...]) -> None:
    layer, case, mode, expected, share, public = fault
    verdict = judged(layer, case, mode)
    found = keys(verdict)
    assert verdict.status == FINDINGS
    assert expected in found
    if share == "first":
        assert found[0] == expected
    if share == "alone":
        assert set(found) == {expected}
    assert public <= bugs(verdict)


CORRECT = sorted({(case.model, case.kernel, case.tp, mode) for _, case, mode, *_ in FAULTS})


@pytest.mark.parametrize(("name", "kernel", "tp", "mode"), CORRECT)
def test_the_right_layer_is_left_alone(name: str, kernel: str, tp: int, mode: str) -> None:
    verdict = judged(PaddedMoELayer, case_of(name, kernel, tp), mode)
    assert (verdict.status, verdict.findings) == (OK, ())
    assert verdict.checks


class Workspace(PaddedMoELayer):
    """Correct: writes all of a buffer of its own before it reads it, and gives none of it out."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.register_buffer("space", torch.zeros(64, self.width, dtype=torch.bfloat16), persistent=False)

    def scale(self, x: Tensor) -> Tensor:
        space: Any = self.space
        return super().scale(space[: x.shape[0]].copy_(x).clone())


class WritesIntoView(PaddedMoELayer):
    """Correct: the experts' output goes through an assignment into a view of memory made before."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().run_experts(x, topk_ids, topk_weights)
        space = torch.zeros_like(out)
        space[:, :16] = out[:, :16]
        space[:, 16:] = out[:, 16:]
        return space


@pytest.mark.parametrize("mode", [mode.name for mode in by_default(cuda=False)])
@pytest.mark.parametrize("layer", [WritesIntoView])
def test_a_right_layer_written_otherwise_is_left_alone(layer: type[PaddedMoELayer], mode: str) -> None:
    verdict = judged(layer, WIDE, mode)
    assert (verdict.status, verdict.findings) == (OK, ())


def test_a_workspace_is_no_state() -> None:
    verdict = judged(Workspace, WITH_SHARED)
    assert (verdict.status, verdict.findings) == (OK, ())


def test_every_observer_has_a_fault_that_it_alone_or_first_reports() -> None:
    shown = {expected[0] for _, _, _, expected, share, _ in FAULTS if share in ("alone", "first")}
    contract = {"contract"}  # by planted fakes, below
    assert shown | contract == {observer.name for observer in OBSERVERS} | set(RAISING)


def test_public_bugs_are_not_named_without_their_mechanism() -> None:
    assert bugs(judged(NoUnpad, WIDE)) == set()
    assert bugs(judged(LastColumnZero, WITH_SHARED)) == set()
    assert bugs(judged(WritesInput, WIDE)) == set()


# Fakes and kernels of the routed experts, each with one fault.


def _rows_columns(args: tuple[Any, ...]) -> tuple[Any, int]:
    return args[0].shape[0], args[10]


def fake_transposed(*args: Any) -> Tensor:
    rows, columns = _rows_columns(args)
    return args[0].new_empty(columns, rows).t()


def fake_raises(*args: Any) -> Tensor:
    raise NotImplementedError("no fake for this layout")


@pytest.mark.parametrize(
    ("fake", "kind", "says"),
    [
        (fake_padded, "fake-differs", "real gives shape [7, 80], its fake [7, 128]"),
        (fake_transposed, "fake-differs", "real gives stride [80, 1], its fake [1, 7]"),
        (fake_float32, "fake-differs", "real gives dtype bfloat16, its fake float32"),
        (fake_offset, "fake-differs", "real gives storage offset 0, its fake 80"),
        (fake_meta, "fake-differs", "real gives device cpu, its fake meta"),
        (fake_raises, "no-fake", "its fake implementation raised NotImplementedError: no fake for this layout"),
        (fake_reads_data, "no-fake", "its fake implementation raised DataDependentOutputException"),
    ],
)
def test_a_fake_that_differs_from_its_kernel_breaks_the_contract(
    fake: Callable[..., Tensor], kind: str, says: str
) -> None:
    with routed_experts.planted(fake=fake):
        verdict = judged(PaddedMoELayer, NARROW)
    assert keys(verdict) == [("contract", kind, stages.EXPERTS)]
    assert says in verdict.findings[0].what
    assert bugs(verdict) == ({"vllm#41645"} if fake is fake_padded else set())
    assert judged(PaddedMoELayer, NARROW).ok


def fake_strided(*args: Any) -> Tensor:
    rows, columns = _rows_columns(args)
    return args[0].new_empty(rows, 2 * columns)[:, :columns]


def test_a_strided_fake_is_named_where_what_it_gives_is_reduced() -> None:
    class Undensed(PaddedMoELayer):
        def dense(self, x: Tensor) -> Tensor:
            return x

    with routed_experts.planted(fake=fake_strided):
        verdict = judged(Undensed, case_of("plain", "narrow", tp=2), "fake")
    finding = next(one for one in verdict.findings if one.kind == "not-contiguous")
    assert finding.cause.startswith("padded_moe::routed_experts gives it with these strides: in a trace its fake does")
    assert bugs(verdict) == set()


def test_a_shared_output_of_another_width_is_not_similar_to_a_kernel_that_writes_the_true_width() -> None:
    similar = SHOWS_AS["fake-padded-kernel-narrow"]
    detail = {"real": NARROW.width, "fake": NARROW.padded}
    routed, shared = (
        Finding(
            observer="contract", kind="fake-differs", stage="", what="", cause="", detail=detail | {"routed": is_routed}
        )
        for is_routed in (True, False)
    )
    assert (similar(routed, NARROW), similar(shared, NARROW)) == (True, False)


def test_a_fake_of_the_padded_width_is_found_where_compiled_code_meets_the_kernel() -> None:
    with routed_experts.planted(fake=fake_padded):
        verdict = judged(PaddedMoELayer, NARROW, "compiled")
    assert keys(verdict)
    assert verdict.findings[0].observer in ("contract", "widths", "collectives")
    assert judged(PaddedMoELayer, NARROW, "compiled").ok


def test_a_fake_that_raises_is_told_once_in_a_trace() -> None:
    with routed_experts.planted(fake=fake_raises):
        verdict = judged(PaddedMoELayer, NARROW, "fake")
    assert keys(verdict) == [("contract", "no-fake", stages.EXPERTS)]


def test_a_fake_that_fixes_the_token_count_is_found_in_a_symbolic_trace() -> None:
    def fake(*args: Any) -> Tensor:
        return args[0].new_empty(int(args[0].shape[0]), args[10])

    with routed_experts.planted(fake=fake):
        assert ("recompiles", "specialised", stages.EXPERTS) in keys(judged(PaddedMoELayer, NARROW, "fake-dynamic"))
        assert judged(PaddedMoELayer, NARROW, "eager").ok


@register_op("cases_observers::parts", "(Tensor x) -> Tensor[]", fake=lambda x: [torch.empty_like(x)] * 2)
def parts(x: Tensor) -> list[Tensor]:
    return [x.clone(), x.clone()]


class TwoOps(PaddedMoELayer):
    """A second custom op, which gives a list."""

    def dense(self, x: Tensor) -> Tensor:
        first: Tensor = parts(super().dense(x))[0]
        return first


def test_outputs_are_counted() -> None:
    with parts.planted(fake=lambda x: [torch.empty_like(x)]):
        verdict = judged(TwoOps, WIDE)
    assert [finding.what for finding in verdict.findings] == [
        "cases_observers::parts: real gives 2 outputs, its fake 1"
    ]
    assert judged(TwoOps, WIDE).ok


def test_each_output_of_an_op_is_compared() -> None:
    with parts.planted(fake=lambda x: [torch.empty_like(x), x.new_empty(x.shape, dtype=torch.float32)]):
        verdict = judged(TwoOps, WIDE)
    assert "output 1: real gives dtype bfloat16, its fake float32" in verdict.findings[0].what


@pytest.mark.parametrize(
    ("real", "case", "mode", "expected", "public"),
    [
        (writes_hidden_states, case_of("aligned"), "eager", ("alias", "mutated-input", stages.EXPERTS), set()),
        (writes_hidden_states, WIDE, "eager", ("alias", "mutated-input", stages.EXPERTS), set()),
        (
            writes_hidden_states,
            ALIGNED_SHARED,
            "eager",
            ("alias", "mutated-input", stages.EXPERTS),
            {"vllm#28942"},
        ),
        (writes_scale, WIDE, "eager", ("alias", "mutated-input", stages.EXPERTS), set()),
        (returns_hidden_states, WIDE, "eager", ("alias", "undeclared-alias", stages.EXPERTS), set()),
        (leaves_columns, NARROW, "eager", ("poison", "uninitialised", stages.EXPERTS), set()),
        (leaves_columns, NARROW, "cudagraph", ("poison", "uninitialised", stages.EXPERTS), set()),
        (raises_at_zero, WIDE, "eager", ("contract", "op-raised", stages.EXPERTS), set()),
        (reads_on_host, WIDE, "cudagraph", ("capture", "capture-refused", "capture"), set()),
    ],
)
def test_a_faulty_kernel_is_found(
    real: Callable[..., Tensor], case: Case, mode: str, expected: Key, public: set[str]
) -> None:
    with routed_experts.planted(real=real):
        verdict = judged(PaddedMoELayer, case, mode)
    assert expected in keys(verdict)
    assert public <= bugs(verdict)
    assert judged(PaddedMoELayer, case, mode).ok


def test_activations_are_not_interchangeable() -> None:
    def real(*args: Any) -> Tensor:
        return REAL(*args[:9], "gelu-tanh", *args[10:])

    with routed_experts.planted(real=real):
        assert keys(judged(PaddedMoELayer, WIDE))[0] == ("values", "wrong-values", stages.EXPERTS)


class NanOracle(InTree):
    """Knows no answer."""

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return {name: part * torch.nan for name, part in super().oracle(case, inputs).items()}


def test_an_oracle_of_nan_passes_nothing() -> None:
    verdict = judge(NanOracle(), WIDE, MODES["eager"], CPU)
    assert not verdict.ok


# Faults that an earlier harness did not see, or saw as another one.


def test_a_bypassed_op_is_found_in_compiled_code() -> None:
    assert ("dispatch", "never-dispatched", stages.EXPERTS) in keys(judged(Bypass, WIDE, "compiled"))


def test_a_bypassed_op_is_found_in_compiled_code_where_another_op_is_left() -> None:
    assert keys(judged(Bypass, TWO, "compiled")) == [("dispatch", "never-dispatched", stages.EXPERTS)]


def test_a_guard_on_the_parity_of_the_token_count_is_found() -> None:
    assert ("recompiles", "recompiled", "layer") in keys(judged(OddAndEven, WIDE, "compiled-dynamic"))


@pytest.mark.parametrize("layer", [OddAndEven, ManyTokens])
def test_a_guard_that_narrows_the_token_count_is_found_in_a_symbolic_trace(layer: type[PaddedMoELayer]) -> None:
    assert keys(judged(layer, WIDE, "fake-dynamic"))


def test_a_scaled_sum_is_told_at_the_scaling() -> None:
    verdict = judged(SharedScaled, WITH_SHARED)
    assert keys(verdict)[0] == ("values", "scaled", stages.SCALING)
    says = r"The sum of both parts is multiplied at fixtures/faults/shared\.py:\d+: by the routed scaling, that scales"
    assert re.search(says, verdict.findings[0].cause)


@pytest.mark.parametrize(("layer", "case"), [(NotScaled, WITH_SHARED), (ScaledOddly, WIDE), (ScaledOddly, WITH_SHARED)])
def test_another_factor_is_not_told_as_scaled_twice(layer: type[PaddedMoELayer], case: Case) -> None:
    assert "vllm#45037" not in bugs(judged(layer, case))


def test_a_wrong_token_is_told_as_one() -> None:
    assert keys(judged(WrongToken, WIDE))[0] == ("values", "wrong-tokens", stages.EXPERTS)


def test_a_wrong_token_is_found() -> None:
    assert keys(judged(WrongToken, WIDE))[0][0] == "values"


def test_a_layer_that_exits_is_a_finding() -> None:
    assert judged(Exits, WIDE).status == FINDINGS


def test_no_best_fit_is_given_where_no_factor_explains_the_difference() -> None:
    (finding,) = judged(GateUpSwapped, WIDE).findings
    assert finding.cause.startswith("No factor of a part")
    assert "best fit" not in finding.what
