"""Each observer reports the faults that are its business, and says nothing of the right layer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from harness import stages
from harness.case import Case
from harness.collectives import all_reduce
from harness.finding import ERROR, FINDINGS, OK, Verdict
from harness.judge import judge
from harness.modes import MODES
from harness.observers import OBSERVERS, RAISING
from harness.registry import register_op
from harness.shapes import Alignment, Shape
from kernels.experts import routed_experts
from kernels.layer import PaddedMoELayer
from kernels.subject import InTree

CPU = torch.device("cpu")
RULE = Alignment("test", 64, 32, 32)
REAL = routed_experts.reals["cpu"]

PLAIN = Shape("plain", 80, 48, 4, 2, None, None, "silu", True)  # 80 is padded to 128
SHARED = replace(PLAIN, name="shared", shared_intermediate=48)
LATENT = replace(SHARED, name="latent", hidden=160, latent=80)
SHAPES = {"plain": PLAIN, "shared": SHARED, "latent": LATENT, "aligned": replace(PLAIN, name="aligned", hidden=128)}


def case_of(name: str, kernel: str = "wide", tp: int = 1, tokens: int = 7) -> Case:
    return Case.of(SHAPES[name], RULE, kernel, tp, tokens)


@dataclass
class Planted(InTree):
    """The in-tree subject with another class of layer."""

    layer: type[PaddedMoELayer] = PaddedMoELayer

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        built = super().build(case, device)
        built.__class__ = self.layer
        return built


# Layers, each with one fault.


class NoUnpad(PaddedMoELayer):
    def unpad(self, x: Tensor) -> Tensor:
        return x


class Strided(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return x


class Transposed(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x).t().contiguous().t()


class Float32(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x).float()


class Pair(PaddedMoELayer):
    def dense(self, x: Tensor) -> Any:
        return super().dense(x), None


class OneRowMore(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return functional.pad(super().dense(x), (0, 0, 0, 1))


class Bypass(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        weights = (self.w13, self.w13_scale, self.w13_global_scale, self.w2, self.w2_scale, self.w2_global_scale)
        return REAL(x, topk_ids, topk_weights, *weights, self.activation, self.out_width, self.swizzled_scales)


class WritesInput(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        hidden_states.zero_()
        return out


class WritesRouting(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        topk_ids.sub_(1)
        return out


class WritesInputAtOneToken(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        if hidden_states.shape[0] == 1:
            hidden_states.zero_()
        return out


class WritesWeights(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().forward(hidden_states, topk_ids, topk_weights)
        self.w2_global_scale.mul_(1.001)
        return out


class OutputInBuffer(PaddedMoELayer):
    """Gives out a part of a tensor that it holds."""

    def dense(self, x: Tensor) -> Tensor:
        if "kept" not in self.__dict__:
            self.__dict__["kept"] = x.new_zeros(64, x.shape[-1])
        kept: Tensor = self.kept
        return kept[: x.shape[0]].copy_(super().dense(x))


class OutputReused(PaddedMoELayer):
    """The same, hidden in a list."""

    def dense(self, x: Tensor) -> Tensor:
        held = self.__dict__.setdefault("held", [x.new_zeros(64, x.shape[-1])])
        return held[0][: x.shape[0]].copy_(super().dense(x))


class OutputIsInput(PaddedMoELayer):
    """Writes the sum where hidden_states was, bits changed or not."""

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        return hidden_states.copy_(super().forward(hidden_states, topk_ids, topk_weights))


class LeakedColumn(PaddedMoELayer):
    def unpad(self, x: Tensor) -> Tensor:
        return torch.cat((x[..., : self.width - 1], x[..., self.width : self.width + 1]), -1)


class LeakedQuietly(PaddedMoELayer):
    """The tail holds zeros as long as the kernel is kind: adding it changes no value."""

    def unpad(self, x: Tensor) -> Tensor:
        return x[..., : self.width] + x[..., -1:]


class EmptyPad(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        padded = x.new_empty(x.shape[0], self.padded)
        padded[..., : self.width] = x
        return padded


class Shifted(PaddedMoELayer):
    def unpad(self, x: Tensor) -> Tensor:
        return x[..., 1 : self.width + 1]


class LastColumnZero(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return functional.pad(super().dense(x)[..., :-1], (0, 1))


class ScaledTwice(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return super().scale(super().scale(x))


class NotScaled(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return x


class ScaledOddly(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        return x * 1.49 * self.scaling


class SharedScaled(PaddedMoELayer):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        return routed if shared is None else self.scaling * shared + routed


class NoShared(PaddedMoELayer):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        return routed


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


class WrongToken(PaddedMoELayer):
    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        out = super().run_experts(x, topk_ids, topk_weights)
        return torch.cat((out[:-1], -out[-1:])) if out.shape[0] > 1 else out


class SharedReadsLatent(PaddedMoELayer):
    """The shared expert is given the latent tensor, padded with zeros to fit."""

    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        latent = self.to_latent(hidden_states)
        return super().shared_output(functional.pad(latent, (0, hidden_states.shape[-1] - self.width)))


class SharedReadsLatentUnpadded(PaddedMoELayer):
    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        return super().shared_output(self.to_latent(hidden_states))


class KeepsFirstInput(PaddedMoELayer):
    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        kept = self.__dict__.setdefault("kept", {})
        first = kept.setdefault(hidden_states.shape, hidden_states.clone())
        return super().forward(first, topk_ids, topk_weights)


class FailsAtZero(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        return super().pad(x) + 0 * x.amax()


class WrongAtOne(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        out = super().dense(x)
        return out * 2 if out.shape[0] == 1 else out


class ReducedTwice(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        return super().reduce(super().reduce(x))


class NeverReduced(PaddedMoELayer):
    def reduce(self, x: Tensor) -> Tensor:
        return x


class ReducedInParts(PaddedMoELayer):
    """Right values by two collectives, where one would do."""

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        return all_reduce(routed, self.tp) + all_reduce(shared, self.tp)

    def reduce(self, x: Tensor) -> Tensor:
        return x


class TokensAsNumber(PaddedMoELayer):
    """``int`` of a symbolic size fixes it."""

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + 0 * len(range(x.shape[0]))


class Counts(PaddedMoELayer):
    count = 0

    def dense(self, x: Tensor) -> Tensor:
        self.count += 1
        return super().dense(x) + 0 * self.count


class BreaksGraph(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return super().dense(x)


class Branches(PaddedMoELayer):
    """Reads a value on the host."""

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) if x.numel() == 0 or x.isfinite().all() else x


class OddAndEven(PaddedMoELayer):
    """Guards on the parity of the token count."""

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + (0 if x.shape[0] % 2 else 0.0)


class ManyTokens(PaddedMoELayer):
    """Guards on a token count that no call reaches."""

    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + (0 if x.shape[0] > 64 else 0.0)


class Exits(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        raise SystemExit(3)


class ReadsItem(PaddedMoELayer):
    def dense(self, x: Tensor) -> Tensor:
        return super().dense(x) + 0 * float(x.float().sum().item())


Key = tuple[str, str, str]


def judged(layer: type[PaddedMoELayer], case: Case, mode: str = "eager") -> Verdict:
    return judge(Planted(layer=layer), case, MODES[mode], CPU)


def keys(verdict: Verdict) -> list[Key]:
    assert verdict.status != ERROR, verdict.traceback
    return [(finding.observer, finding.kind, finding.stage) for finding in verdict.findings]


def bugs(verdict: Verdict) -> set[str]:
    return {bug.split()[0] for finding in verdict.findings for bug in finding.bugs}


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
    (Strided, WIDE, "eager", ("widths", "strided-output", stages.UNPAD), "alone", {"vllm#40794"}),
    (Strided, WIDE, "fake", ("widths", "strided-output", stages.UNPAD), "alone", {"vllm#40794"}),
    (Strided, WIDE, "fake-dynamic", ("widths", "strided-output", stages.UNPAD), "alone", {"vllm#40794"}),
    (Strided, WIDE, "cudagraph", ("widths", "strided-output", stages.UNPAD), "alone", {"vllm#40794"}),
    (Transposed, WITH_LATENT, "eager", ("widths", "strided-output", stages.UNPAD), "alone", set()),
    (Float32, WIDE, "eager", ("widths", "wrong-dtype", stages.OUTPUT), "alone", set()),
    (Pair, WIDE, "eager", ("widths", "not-a-tensor", stages.OUTPUT), "alone", set()),
    (OneRowMore, WIDE, "eager", ("widths", "wrong-shape", stages.OUTPUT), "alone", set()),
    (
        SharedReadsLatentUnpadded,
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
    (WritesWeights, WIDE, "eager", ("alias", "mutated-state", "layer"), "alone", set()),
    (OutputInBuffer, WIDE, "eager", ("alias", "shared-output", stages.OUTPUT), "first", set()),
    (OutputIsInput, WIDE, "eager", ("alias", "shared-output", stages.OUTPUT), "some", set()),
    (OutputReused, WIDE, "eager", ("second call", "output-overwritten", stages.OUTPUT), "alone", set()),
    (KeepsFirstInput, WIDE, "eager", ("second call", "stale", stages.EXPERTS), "alone", set()),
    (KeepsFirstInput, WIDE, "cudagraph", ("second call", "stale-replay", stages.EXPERTS), "alone", set()),
    (LeakedQuietly, WIDE, "eager", ("poison", "padding-leaks", stages.UNPAD), "alone", set()),
    (LeakedQuietly, WITH_SHARED, "eager", ("poison", "padding-leaks", stages.UNPAD), "alone", set()),
    (LeakedColumn, WIDE, "eager", ("poison", "padding-leaks", stages.UNPAD), "first", set()),
    (EmptyPad, WIDE, "eager", ("poison", "uninitialised", stages.EXPERTS), "alone", set()),
    (EmptyPad, WIDE, "cudagraph", ("poison", "uninitialised", stages.EXPERTS), "alone", set()),
    (Shifted, WIDE, "cudagraph", ("values", "wrong-values", stages.EXPERTS), "alone", set()),
    (Shifted, WITH_SHARED, "cudagraph", ("values", "wrong-part", stages.EXPERTS), "alone", set()),
    (LastColumnZero, WIDE, "eager", ("values", "wrong-columns", stages.UNPAD), "first", set()),
    (LastColumnZero, WITH_SHARED, "cudagraph", ("values", "wrong-columns", stages.UNPAD), "alone", set()),
    (ScaledTwice, WITH_SHARED, "eager", ("values", "scaled", stages.SCALING), "first", {"vllm#45037"}),
    (ScaledTwice, WITH_LATENT, "cudagraph", ("values", "scaled", stages.SCALING), "alone", {"vllm#45037"}),
    (NotScaled, WITH_SHARED, "eager", ("values", "scaled", stages.SCALING), "first", set()),
    (ScaledOddly, WITH_SHARED, "eager", ("values", "scaled", stages.SCALING), "first", set()),
    (NoShared, WITH_SHARED, "eager", ("values", "missing-part", stages.ADD), "first", set()),
    (SharedReadsLatent, WITH_LATENT, "eager", ("values", "wrong-part", stages.SHARED), "first", {"vllm#34087"}),
    (GateUpSwapped, WIDE, "eager", ("values", "wrong-values", stages.EXPERTS), "first", set()),
    (GateUpSwapped, WITH_SHARED, "eager", ("values", "wrong-part", stages.EXPERTS), "first", set()),
    (RandomColumns, WIDE, "eager", ("values", "wrong-columns", stages.UNPAD), "first", set()),
    (FailsAtZero, WIDE, "eager", ("widths", "raised", "amax"), "alone", set()),
    (WrongAtOne, WIDE, "eager", ("tokens", "few-tokens", "layer"), "alone", set()),
    (Strided, TWO, "eager", ("collectives", "not-contiguous", stages.REDUCE), "alone", {"vllm#40794"}),
    (Strided, TWO, "cudagraph", ("collectives", "not-contiguous", stages.REDUCE), "alone", {"vllm#40794"}),
    (Strided, TWO, "compiled", ("collectives", "not-contiguous", stages.REDUCE), "alone", {"vllm#40794"}),
    (ReducedTwice, TWO, "eager", ("values", "reduced-twice", stages.REDUCE), "first", set()),
    (ReducedTwice, TWO, "fake", ("collectives", "collective-count", stages.REDUCE), "alone", set()),
    (NeverReduced, TWO, "eager", ("values", "not-reduced", stages.REDUCE), "first", set()),
    (NeverReduced, TWO, "fake", ("collectives", "collective-count", stages.REDUCE), "alone", set()),
    (ReducedInParts, SHARED_TWO, "eager", ("collectives", "collective-count", stages.REDUCE), "alone", set()),
    (TokensAsNumber, WIDE, "fake-dynamic", ("recompiles", "specialised", "layer"), "some", set()),
    (TokensAsNumber, WIDE, "compiled-dynamic", ("recompiles", "specialised", "layer"), "alone", set()),
    (Counts, WIDE, "compiled", ("recompiles", "recompiled", "layer"), "alone", set()),
    (BreaksGraph, WIDE, "compiled", ("graph breaks", "graph-break", "layer"), "alone", set()),
    (ReadsItem, WIDE, "cudagraph", ("capture", "capture-refused", "capture"), "alone", set()),
    (Branches, WIDE, "cudagraph", ("capture", "capture-refused", "capture"), "alone", set()),
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


RIGHT = sorted({(case.model, case.kernel, case.tp, mode) for _, case, mode, *_ in FAULTS})


@pytest.mark.parametrize(("name", "kernel", "tp", "mode"), RIGHT)
def test_the_right_layer_is_left_alone(name: str, kernel: str, tp: int, mode: str) -> None:
    verdict = judged(PaddedMoELayer, case_of(name, kernel, tp), mode)
    assert (verdict.status, verdict.findings) == (OK, ())
    assert verdict.checks


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


def fake_wide(*args: Any) -> Tensor:
    return args[0].new_empty(args[0].shape)


def fake_transposed(*args: Any) -> Tensor:
    rows, columns = _rows_columns(args)
    return args[0].new_empty(columns, rows).t()


def fake_float32(*args: Any) -> Tensor:
    return args[0].new_empty(_rows_columns(args), dtype=torch.float32)


def fake_offset(*args: Any) -> Tensor:
    rows, columns = _rows_columns(args)
    return args[0].new_empty(rows + 1, columns)[1:]


def fake_meta(*args: Any) -> Tensor:
    return args[0].new_empty(_rows_columns(args), device="meta")


def fake_raises(*args: Any) -> Tensor:
    raise NotImplementedError("no fake for this layout")


def fake_reads_data(*args: Any) -> Tensor:
    return args[0].new_empty(int(args[1].max()), args[10])


@pytest.mark.parametrize(
    ("fake", "kind", "says"),
    [
        (fake_wide, "fake-differs", "real gives shape [7, 80], its fake [7, 128]"),
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
    assert bugs(verdict) == ({"vllm#41645"} if fake is fake_wide else set())
    assert judged(PaddedMoELayer, NARROW).ok


def test_a_fake_of_the_padded_width_is_found_where_compiled_code_meets_the_kernel() -> None:
    with routed_experts.planted(fake=fake_wide):
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
        assert ("recompiles", "specialised", "layer") in keys(judged(PaddedMoELayer, NARROW, "fake-dynamic"))
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


def writes_hidden_states(*args: Any) -> Tensor:
    out: Tensor = REAL(*args)
    args[0].zero_()
    return out


def writes_scale(*args: Any) -> Tensor:
    out: Tensor = REAL(*args)
    args[4].add_(1)
    return out


def returns_hidden_states(*args: Any) -> Tensor:
    return args[0].copy_(REAL(*args))


def leaves_tail(*args: Any) -> Tensor:
    """A kernel that does not write its last columns."""
    out: Tensor = REAL(*args)
    return torch.cat((out[..., :-16], torch.empty_like(out[..., -16:])), -1)


def raises_at_zero(*args: Any) -> Tensor:
    if not args[0].shape[0]:
        raise RuntimeError("invalid configuration argument: grid of 0 blocks")
    return REAL(*args)


def reads_on_host(*args: Any) -> Tensor:
    return REAL(*args) * float(args[2].max().item() >= 0)


@pytest.mark.parametrize(
    ("real", "case", "mode", "expected", "public"),
    [
        (writes_hidden_states, case_of("aligned"), "eager", ("alias", "mutated-input", stages.EXPERTS), set()),
        (writes_hidden_states, WIDE, "eager", ("alias", "mutated-input", stages.EXPERTS), set()),
        (writes_hidden_states, WITH_SHARED, "eager", ("alias", "mutated-input", stages.EXPERTS), {"vllm#28942"}),
        (writes_scale, WIDE, "eager", ("alias", "mutated-input", stages.EXPERTS), set()),
        (returns_hidden_states, WIDE, "eager", ("alias", "undeclared-alias", stages.EXPERTS), set()),
        (leaves_tail, NARROW, "eager", ("poison", "uninitialised", stages.EXPERTS), set()),
        (leaves_tail, NARROW, "cudagraph", ("poison", "uninitialised", stages.EXPERTS), set()),
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


def test_a_scaled_shared_part_is_told_as_the_shared_parts() -> None:
    verdict = judged(SharedScaled, WITH_SHARED)
    assert keys(verdict)[0] == ("values", "scaled", stages.SHARED)


def test_a_scaled_shared_part_is_found() -> None:
    assert keys(judged(SharedScaled, WITH_SHARED))[0][:2] == ("values", "scaled")


@pytest.mark.parametrize(("layer", "case"), [(NotScaled, WITH_SHARED), (ScaledOddly, WIDE), (ScaledOddly, WITH_SHARED)])
def test_another_factor_is_not_told_as_scaled_twice(layer: type[PaddedMoELayer], case: Case) -> None:
    assert "vllm#45037" not in bugs(judged(layer, case))


def test_a_wrong_token_is_told_as_one() -> None:
    assert keys(judged(WrongToken, WIDE))[0] == ("values", "wrong-tokens", stages.EXPERTS)


def test_a_wrong_token_is_found() -> None:
    assert keys(judged(WrongToken, WIDE))[0][0] == "values"


def test_a_layer_that_exits_is_a_finding() -> None:
    assert judged(Exits, WIDE).status == FINDINGS
