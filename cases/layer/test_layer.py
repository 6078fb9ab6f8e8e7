"""The in-tree layer against its oracle, over every combination of its parts, eager and compiled."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.matrix.case import Case
from harness.matrix.shapes import Alignment, Shape, load
from harness.ops.registry import registered
from harness.subjects.subject import Subject
from kernels.layer.experts import OP, activate, routed_experts
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.masters import Sizes, masters
from kernels.layer.nvfp4 import swizzle_128x4
from kernels.layer.oracle import activated
from kernels.layer.subject import InTree

CPU = torch.device("cpu")
RULE = Alignment("test", 64, 32, 32)
SUBJECT = InTree()
# Four roundings to bf16, each by at most 2^-8 of the value and some parts of values larger than their sum.
TOLERANCE = 0.02
ACTIVATIONS = {"silu": True, "clamped-swiglu": True, "gelu-tanh": True, "relu2": False}


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """No recompiles are counted against what other tests compiled of the same code."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def shape_of(activation: str, width: int, latent: bool, shared: bool) -> Shape:
    """A small layer whose routed experts work at ``width``."""
    hidden = 96 if latent else width
    return Shape(
        "small",
        hidden,
        48,
        4,
        2,
        48 if shared else None,
        width if latent else None,
        activation,
        ACTIVATIONS[activation],
    )


def case_of(shape: Shape, kernel: str = "wide", tp: int = 1, scaling: float | None = None) -> Case:
    case = Case.of(shape, RULE, kernel, tp, 5)
    return case if scaling is None else replace(case, scaling=scaling)


def check(out: Tensor, case: Case, inputs: tuple[Tensor, ...]) -> None:
    """Every element is near the oracle's, in a contiguous tensor of the expected shape."""
    expected = torch.stack(list(SUBJECT.oracle(case, inputs).values())).sum(0)
    assert out.shape == expected.shape
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous()
    assert out.stride() == (case.hidden, 1)
    if expected.numel():
        rms = expected.square().mean().sqrt()
        assert ((out.float() - expected).abs() / (rms + expected.abs())).max().item() < TOLERANCE


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_agree_beyond_what_layers_reach(activation: str) -> None:
    gated, points = ACTIVATIONS[activation], torch.linspace(-12, 12, 481)
    rows = torch.cartesian_prod(points, points) if gated else points[:, None]
    got, expected = activate(rows, activation, gated), activated(rows, activation, gated)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens", [0, 1, 5])
@pytest.mark.parametrize("tp", [1, 2], ids=lambda tp: f"tp={tp}")
@pytest.mark.parametrize("kernel", ["wide", "narrow"])
@pytest.mark.parametrize("latent", [True, False], ids=["latent", "nolatent"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "noshared"])
@pytest.mark.parametrize("width", [80, 128], ids=["padded", "aligned"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_layer_agrees_with_the_oracle(
    activation: str, width: int, shared: bool, latent: bool, kernel: str, tp: int, tokens: int
) -> None:
    case = case_of(shape_of(activation, width, latent, shared), kernel, tp)
    inputs = SUBJECT.inputs(case, tokens, 0, CPU)
    check(SUBJECT.build(case, CPU)(*inputs), case, inputs)


@pytest.mark.parametrize("scaling", [1.0, 2.5], ids=lambda x: f"scaling={x:g}")
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "noshared"])
@pytest.mark.parametrize("kernel", ["wide", "narrow"])
def test_scaling_and_shared_expert_are_independent(kernel: str, shared: bool, scaling: float) -> None:
    case = case_of(shape_of("silu", 80, False, shared), kernel, 2, scaling)
    inputs = SUBJECT.inputs(case, 5, 0, CPU)
    check(SUBJECT.build(case, CPU)(*inputs), case, inputs)


@pytest.mark.parametrize("kernel", ["wide", "narrow"])
@pytest.mark.parametrize(
    "name", ["nemotron-3-nano-30b-a3b", "gpt-oss-120b", "gemma-4-26b-a4b", "synthetic-latent-padded"]
)
def test_published_widths_agree_with_the_oracle(name: str, kernel: str) -> None:
    case = Case.of(load().shape(name), load().rule("trtllm-nvfp4"), kernel, 2, 5)
    inputs = SUBJECT.inputs(case, 5, 0, CPU)
    check(SUBJECT.build(case, CPU)(*inputs), case, inputs)


@pytest.mark.parametrize("scaling", [1.0, 2.5], ids=lambda x: f"scaling={x:g}")
@pytest.mark.parametrize("latent", [True, False], ids=["latent", "nolatent"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "noshared"])
def test_only_a_bare_slice_is_copied(shared: bool, latent: bool, scaling: float) -> None:
    layer = SUBJECT.build(case_of(shape_of("silu", 80, latent, shared), "wide", 1, scaling), CPU)
    assert layer.strided == (not shared and not latent and scaling == 1)


def test_an_aligned_layer_neither_pads_nor_slices() -> None:
    case = case_of(shape_of("silu", 128, False, True))
    graph = torch.export.export(SUBJECT.build(case, CPU), SUBJECT.inputs(case, 5, 0, CPU)).graph
    names = [str(node.target) for node in graph.nodes]
    assert any("routed_experts" in name for name in names)
    assert not [name for name in names if "pad." in name or "constant_pad" in name or "slice." in name]


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("kernel", ["wide", "narrow"])
@pytest.mark.parametrize("latent", [True, False], ids=["latent", "nolatent"])
def test_the_layer_is_one_graph(latent: bool, kernel: str, dynamic: bool) -> None:
    case = case_of(shape_of("silu", 80, latent, not latent), kernel, 2)
    layer = SUBJECT.build(case, CPU)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for tokens in (5, 7):
        inputs = SUBJECT.inputs(case, tokens, tokens, CPU)
        assert torch.equal(compiled(*inputs), layer(*inputs))


def test_all_tokens_on_one_expert() -> None:
    case = case_of(shape_of("relu2", 80, False, True))
    hidden, ids, weights = SUBJECT.inputs(case, 5, 0, CPU)
    inputs = hidden, torch.full_like(ids, 1), weights
    check(SUBJECT.build(case, CPU)(*inputs), case, inputs)


def test_swizzled_scales_give_the_same() -> None:
    case = case_of(shape_of("silu", 80, False, True))
    layer, inputs = SUBJECT.build(case, CPU), SUBJECT.inputs(case, 5, 0, CPU)
    expected = layer(*inputs)
    for name in ("w13_scale", "w2_scale"):
        setattr(layer, name, swizzle_128x4(layer.get_buffer(name)))
    layer.swizzled_scales = True
    assert torch.equal(layer(*inputs), expected)


def test_an_id_that_names_no_expert_adds_nothing() -> None:
    case = case_of(shape_of("silu", 80, False, False))
    hidden, ids, weights = SUBJECT.inputs(case, 5, 0, CPU)
    assert not SUBJECT.build(case, CPU)(hidden, torch.full_like(ids, -1), weights).any()


def test_layers_share_no_memory() -> None:
    case = case_of(shape_of("silu", 128, True, True))
    weights = masters(Sizes.of(case))
    tensors = [tensor for pair in (weights.shared, weights.latent) if pair for tensor in pair]
    pointers = [tensor.data_ptr() for tensor in tensors]
    for _ in range(2):
        layer: PaddedMoELayer = SUBJECT.build(case, CPU)
        pointers += [tensor.untyped_storage().data_ptr() for tensor in layer.state_dict().values()]
        tensors += layer.state_dict().values()
    assert len(pointers) == len(set(pointers)) == 4 + 2 * 10


def test_weights_follow_from_sizes_alone() -> None:
    case = case_of(shape_of("silu", 80, False, True))
    first = masters(Sizes.of(case))
    made: Any = masters
    second = made.__wrapped__(Sizes.of(replace(case, kernel="narrow", tp=2, tokens=9)))  # not from the cache
    assert first is not second
    assert torch.equal(first.w13, second.w13)
    assert torch.equal(first.w2, second.w2)


@pytest.mark.parametrize("name", sorted(load().shapes))
def test_parts_are_of_one_size(name: str) -> None:
    case = Case.of(load().shape(name), load().rule("none"), "wide", 1, 5)
    parts = SUBJECT.oracle(case, SUBJECT.inputs(case, 5, 0, CPU))
    rms = [part.square().mean().sqrt().item() for part in parts.values()]
    assert max(rms) < 5 * min(rms)
    assert all(0.1 < size < 10 for size in rms)


def test_inputs_are_what_the_layer_takes() -> None:
    case = case_of(shape_of("silu", 80, False, True))
    hidden, ids, weights = SUBJECT.inputs(case, 7, 3, CPU)
    assert hidden.shape == (7, 80)
    assert hidden.dtype == torch.bfloat16
    assert ids.dtype == torch.int32
    assert all(len(set(row)) == case.top_k for row in ids.tolist())
    assert bool((weights > 0).all())
    assert weights.dtype == torch.float32
    assert bool((weights.sum(-1) - 1).abs().max() > 0.1)  # a kernel that normalises them once more gives wrong values
    assert torch.equal(hidden, SUBJECT.inputs(case, 7, 3, CPU)[0])
    assert not torch.equal(hidden, SUBJECT.inputs(case, 7, 4, CPU)[0])


def test_the_fake_answers_as_the_op_does() -> None:
    op = registered()[OP]
    assert op.samples is not None
    seen = 0
    for arguments in op.samples(CPU):
        real = routed_experts(*arguments)
        with FakeTensorMode() as mode:
            fake = routed_experts(*[mode.from_tensor(x) if isinstance(x, Tensor) else x for x in arguments])
        assert (fake.shape, fake.stride(), fake.dtype) == (real.shape, real.stride(), real.dtype)
        seen += 1
    assert seen == 4


def test_an_unknown_activation_is_refused() -> None:
    arguments = next(iter(registered()[OP].samples(CPU)))  # type: ignore[misc]
    with pytest.raises(ValueError, match="'tanh'"):
        routed_experts(*arguments[:-2], "tanh", 64)


def test_the_subject_is_one() -> None:
    assert isinstance(SUBJECT, Subject)
    assert SUBJECT.name == "in-tree"
    assert SUBJECT.ops(case_of(shape_of("silu", 80, False, True))) == (OP,)
