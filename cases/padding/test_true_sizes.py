"""Cases of true size: weights made an expert at a time, the memory that they need, and the skip where it is not there."""

import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fixtures.allocations import Allocations
from harness.findings.finding import FINDINGS, OK, SKIPPED
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.matrix.shapes import Alignment, Shape, load
from harness.proof.symbols.builder import Builder
from harness.verdict.judge import judge
from kernels.layer import memory as memory_module
from kernels.layer import subject as subject_module
from kernels.layer.experts import routed_experts
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.masters import Sizes, TrueMasters, masters_of
from kernels.layer.memory import COPIES, GIB, ONE, RESERVE, memory, needs, shortage
from kernels.layer.nvfp4 import Nvfp4, dequantise, quantise
from kernels.layer.oracle import layer_output
from kernels.layer.subject import InTree
from kernels.layer.weights import Experts, pad_experts
from kernels.triton import pack
from kernels.triton.pack import Packed, unpack_matrices
from kernels.triton.subject import Triton

CPU = torch.device("cpu")
RULE = Alignment("test", 64, 32, 32)
ACTIVATIONS = {"silu": True, "clamped-swiglu": True, "gelu-tanh": True, "relu2": False}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def true_case(activation: str = "silu", kernel: str = "wide", latent: bool = False, shared: bool = True) -> Case:
    """A small case that is called one of true size."""
    shape = Shape(
        "tiny", 144, 80, 12, 3, 48 if shared else None, 80 if latent else None, activation, ACTIVATIONS[activation]
    )
    return Case.of(shape, RULE, kernel, 2, 5, full=True)


def large_case() -> Case:
    """Large enough that the experts' weights outweigh all else."""
    return Case.of(Shape("large", 1000 // 16 * 16, 368, 24, 3, 48, None, "silu", True), RULE, "wide", 2, 5, full=True)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "noshared"])
@pytest.mark.parametrize("latent", [True, False], ids=["latent", "nolatent"])
@pytest.mark.parametrize("kernel", ["wide", "narrow"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_layer_agrees_with_the_oracle(activation: str, kernel: str, latent: bool, shared: bool) -> None:
    case, subject = true_case(activation, kernel, latent, shared), InTree()
    inputs = subject.inputs(case, 9, 0, CPU)
    out = subject.build(case, CPU)(*inputs).float()
    expected = torch.stack(list(subject.oracle(case, inputs).values())).sum(0)
    rms = expected.square().mean().sqrt()
    assert 0.5 < rms < 20
    assert ((out - expected).abs() / (rms + expected.abs())).max() < 0.02


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", ["eager", "fake-dynamic", "compiled", "cudagraph"])
@pytest.mark.parametrize("kernel", ["wide", "narrow"])
def test_a_case_of_true_size_is_judged(kernel: str, mode: str) -> None:
    verdict = judge(InTree(), true_case(kernel=kernel, latent=True), MODES[mode], CPU)
    assert (verdict.status, verdict.reason, verdict.changes) == (OK, "", {})
    assert verdict.checks


def matrices(case: Case, subject: InTree) -> tuple[Tensor, Tensor]:
    """w13 [E, parts, I padded, H padded] and w2 [E, H padded, I padded], fp32, as a subject's experts mean them."""
    found = subject.experts(case, CPU)
    first, second = (
        (found.w13, found.w13_scale, found.w13_global_scale),
        (found.w2, found.w2_scale, found.w2_global_scale),
    )
    if isinstance(subject, Triton):
        w13, w2 = (
            unpack_matrices(Packed(*first), case.padded),
            unpack_matrices(Packed(*second), case.padded_intermediate),
        )
    else:
        w13, w2 = dequantise(Nvfp4(*first)), dequantise(Nvfp4(*second))
    return w13.unflatten(1, (-1, case.padded_intermediate)), w2


@pytest.mark.parametrize("subject", [InTree(), Triton()], ids=lambda subject: str(subject.name))
@pytest.mark.parametrize("activation", ["silu", "relu2"])
def test_every_expert_is_its_master_and_zero_beyond(subject: InTree, activation: str) -> None:
    case = true_case(activation)
    w13, w2 = matrices(case, subject)
    found = masters_of(case, CPU)
    assert len(w13) == len(w2) == case.experts
    for index in range(case.experts):
        first, second = found.expert(index)
        both = ((w13[index, :, : case.intermediate, : case.width].flatten(0, 1), first),)
        both += ((w2[index, : case.width, : case.intermediate], second),)
        for got, wanted in both:  # the Triton kernel divides by 448 with a product
            torch.testing.assert_close(got, wanted, rtol=1e-6 if isinstance(subject, Triton) else 0, atol=0)
    assert not w13[:, :, case.intermediate :].any()
    assert not w13[..., case.width :].any()
    assert not w2[:, case.width :].any()
    assert not w2[..., case.intermediate :].any()


def test_weights_are_the_same_each_time_and_of_no_two_experts_alike() -> None:
    sizes = Sizes.of(true_case(latent=True))
    found, again = TrueMasters(sizes, CPU), TrueMasters(sizes, CPU)
    for index in (0, 7):
        assert all(map(torch.equal, found.expert(index), again.expert(index)))
    drawn = [found.expert(index)[0] for index in range(sizes.experts)]
    assert len({weight.abs().max().item() for weight in drawn}) == 3  # sizes differ by powers of two
    assert len({tuple((weight.flatten()[:64] / weight.abs().max()).tolist()) for weight in drawn}) == sizes.experts
    assert found.shared is not None
    assert again.shared is not None
    assert torch.equal(found.shared[0], again.shared[0])


class Peeks(InTree):
    """Notes what is kept while it makes an expert."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    def prepared(self, case: Case, w13: Nvfp4, w2: Nvfp4) -> Experts:
        self.kept.append(len(subject_module._cache))
        return super().prepared(case, w13, w2)


def test_the_experts_made_last_are_kept_and_go_before_others_are_made() -> None:
    subject, case = Peeks(), true_case()
    first, second = subject.experts(case, CPU).tensors(), subject.experts(replace(case, kernel="narrow"), CPU).tensors()
    assert len(subject.kept) == case.experts
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not {tensor.data_ptr() for tensor in first.values()} & {tensor.data_ptr() for tensor in second.values()}
    first["w2"].zero_()
    assert subject.experts(case, CPU).w2.any()
    subject.experts(true_case("relu2"), CPU)
    assert subject.kept == [0] * (2 * case.experts)


def test_a_proof_is_of_no_true_size() -> None:
    assert not Builder(InTree(), true_case()).at((160,)).full


class WholeWeight(InTree):
    """Quantises every expert at once."""

    def experts(self, case: Case, device: torch.device) -> Experts:
        found = masters_of(case, device)
        each = [found.expert(index) for index in range(case.experts)]
        first, second = (quantise(torch.stack(weights)) for weights in zip(*each, strict=True))
        return pad_experts(first, second, hidden=case.padded, intermediate=case.padded_intermediate)


class WholeOracle(InTree):
    """Has every expert in fp32 at once."""

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        found = masters_of(case, inputs[0].device)
        w13, w2 = (torch.stack(weights) for weights in zip(*map(found.expert, range(case.experts)), strict=True))
        settings = {"activation": case.activation, "gated": case.gated, "scaling": case.scaling, "tp": case.tp}
        return layer_output(inputs, lambda index: (w13[index], w2[index]), **settings)  # type: ignore[arg-type]


def allocated(function: Callable[[], object]) -> Allocations:
    """What a call allocates."""
    with Allocations() as seen:
        function()
    return seen


def one_expert(case: Case) -> int:
    """The elements of an expert's larger matrix, padded and in whole steps of Triton's layout."""
    return 2 * case.padded_intermediate * (case.padded + 127) // 128 * 128


@pytest.mark.parametrize(
    ("subject", "fits"), [(InTree(), True), (Triton(), True), (WholeWeight(), False)], ids=lambda x: type(x).__name__
)
def test_no_temporary_of_the_build_is_a_multiple_of_the_whole(subject: InTree, fits: bool) -> None:
    case = large_case()
    packed = case.experts * one_expert(case) // 2
    largest = allocated(lambda: subject.experts(case, CPU)).largest
    assert (largest <= max(packed, 4 * one_expert(case))) is fits, largest / packed


@pytest.mark.parametrize(
    ("subject", "fits"), [(InTree(), True), (WholeOracle(), False)], ids=lambda x: type(x).__name__
)
def test_the_oracle_holds_one_expert_at_a_time(subject: InTree, fits: bool) -> None:
    case = large_case()
    inputs = subject.inputs(case, 9, 0, CPU)
    assert (allocated(lambda: subject.oracle(case, inputs)).peak < 20 * one_expert(case)) is fits


def calls(layer: PaddedMoELayer, inputs: tuple[Tensor, ...]) -> Callable[[], Tensor]:
    """The op's kernel itself, whose allocations are seen where it is called as a function."""
    return lambda: routed_experts.reals["cpu"](
        layer.pad(inputs[0]), *inputs[1:], *layer.op_weights(), "silu", layer.padded
    )


@pytest.mark.parametrize("subject", [InTree(), Triton()], ids=lambda subject: str(subject.name))
def test_the_estimate_of_a_build_holds_and_is_not_three_times_what_it_takes(subject: InTree) -> None:
    case = large_case()
    peak = allocated(lambda: subject.experts(case, CPU)).peak
    expected = needs(case).experts / 2 + ONE * 1.5 * one_expert(case)
    assert expected / 3 < peak <= expected


def test_the_estimate_of_the_op_holds_beside_that_of_a_build() -> None:
    case, subject = large_case(), InTree()
    inputs = subject.inputs(case, 9, 0, CPU)
    layer = subject.build(case, CPU)
    op, build = allocated(calls(layer, inputs)).peak, allocated(lambda: subject.experts(case, CPU)).peak
    assert op + build - needs(case).experts / COPIES <= ONE * 1.5 * one_expert(case)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", ["eager", "fake", "compiled", "cudagraph"])
def test_the_estimate_of_a_verdict_holds(mode: str) -> None:
    case = large_case()
    need = needs(case, emulated=True)
    seen = allocated(lambda: judge(InTree(), case, MODES[mode], CPU))
    assert seen.peak <= need.total - RESERVE
    if mode == "eager":
        assert 0.9 < seen.peak / need.experts <= 1.05
    if mode == "cudagraph":
        assert needs(case).total - RESERVE < seen.peak


@pytest.mark.parametrize("name", sorted(load().shapes))
@pytest.mark.parametrize("rule", ["trtllm-nvfp4", "none"])
def test_every_model_s_needs_are_four_copies_and_something(name: str, rule: str) -> None:
    case = Case.of(load().shape(name), load().rule(rule), "wide", 2, 7, full=True)
    need = needs(case)
    elements = case.experts * case.intermediate * case.width * (3 if case.gated else 2)
    assert 1 <= need.experts / (COPIES * elements * 9 / 16) < 1.4  # widths of 160 become 256
    assert need.total == need.masters + need.experts + need.working
    assert need.working >= RESERVE
    assert shortage(need, need.total) == ""
    assert shortage(need, 78 * GIB) == ""
    told = shortage(need, need.total - 1)
    assert told.startswith(f"needs {need.total / GIB:.1f} GiB on the device (masters ")
    assert told.endswith(f"it has {(need.total - 1) / GIB:.1f}")


def test_what_fits_in_a_small_device_is_told_from_what_does_not() -> None:
    rule = load().rule("trtllm-nvfp4")
    cases = [Case.of(shape, rule, "wide", 2, 7, full=True) for shape in load().shapes.values()]
    left = {case.model for case in cases if shortage(needs(case), 26 * GIB)}
    large = {"kimi-k2", "kimi-k3", "deepseek-v3", "deepseek-v4-pro", "llama-4-maverick", "nemotron-3-ultra-550b-a55b"}
    assert left == large


def test_more_tokens_need_more() -> None:
    case = large_case()
    assert needs(replace(case, tokens=4096)).working > 2 * needs(replace(case, tokens=1024)).working - RESERVE > RESERVE


@pytest.mark.parametrize("subject", [InTree(), WholeWeight()], ids=lambda x: type(x).__name__)
def test_what_does_not_fit_is_skipped_before_anything_is_allocated(
    subject: InTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "memory", lambda device: GIB)
    case = large_case()
    seen = Allocations()
    with seen:
        verdict = judge(subject, case, MODES["eager"], CPU)
    assert verdict.status == SKIPPED
    assert verdict.reason == shortage(needs(case, emulated=True), GIB) != ""
    assert seen.peak == 0


class Raises(PaddedMoELayer):
    def scale(self, x: Tensor) -> Tensor:
        raise RuntimeError("of no width")


class Watched(InTree):
    """Remembers its layers without keeping them."""

    layer = Raises

    def __init__(self) -> None:
        self.layers: list[weakref.ref[PaddedMoELayer]] = []

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        built = super().build(case, device)
        self.layers.append(weakref.ref(built))
        return built


def test_a_layer_that_raised_is_let_go_before_another_is_built() -> None:
    subject = Watched()
    assert judge(subject, true_case(), MODES["eager"], CPU).status == FINDINGS
    (first,) = subject.layers
    assert first() is not None
    layer = subject.build(true_case(), CPU)
    assert first() is None
    assert layer is subject.layers[1]()


def test_a_shrunk_case_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "memory", lambda device: 0)
    shrunk = Case.of(large_case().shape, RULE, "wide", 2, 5)
    assert judge(InTree(), shrunk, MODES["fake"], CPU).status == OK


def test_memory_of_the_cpu_is_what_is_there() -> None:
    assert GIB / 4 < memory(CPU) < 2**45


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("subject", [InTree(), Triton()], ids=lambda subject: str(subject.name))
def test_a_verdict_on_the_gpu_takes_no_more_than_its_estimate(subject: InTree, mode: str) -> None:
    cuda = torch.device("cuda")
    case = Case.of(load().shape("qwen3-30b-a3b"), load().rule("trtllm-nvfp4"), "wide", 2, 7, full=True)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    assert judge(subject, case, MODES[mode], cuda).status == OK
    assert torch.cuda.max_memory_reserved() - before <= needs(case).total


@pytest.mark.gpu
@needs_cuda
def test_masters_are_quantised_exactly_on_the_gpu() -> None:
    found = masters_of(true_case(latent=True), torch.device("cuda"))
    for index in range(12):
        for weight in found.expert(index):
            assert weight.is_cuda
            assert torch.equal(dequantise(quantise(weight)), weight)
            assert weight.any()


def test_memory_reckons_with_the_furthest_rounding() -> None:
    assert memory_module.MOST_ROUNDED >= pack.STEP
