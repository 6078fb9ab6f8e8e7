"""Adapters of the benchmark's peers, on a CPU: what they hand over, and what they say where a peer is missing."""

from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from fixtures import humming_standin, marlin_standin
from fixtures.planting import SHARED
from harness.benchmark.benchmark import COLUMN, WHOLE, NotInstalled
from harness.matrix.shapes import Shape
from kernels.flashinfer.calls import Routed
from kernels.layer.nvfp4 import Nvfp4, dequantise, quantise
from kernels.layer.oracle import Rounding, Step, activated, exact, routed_output
from kernels.triton.bench import APART, PEERS
from kernels.triton.peers import cutile, marlin
from kernels.triton.peers.humming_fp8 import Fp8Layer, bounds, in_c, to_e4m3
from kernels.triton.peers.marlin_layout import laid_out
from kernels.triton.peers.work import Work, errors

SHAPE = SHARED.shape


def work(tokens: int = 5, shape: Shape = SHAPE) -> Work:
    generator = torch.Generator().manual_seed(0)

    def random(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    rows = shape.intermediate * (2 if shape.gated else 1)
    w13 = quantise(random(shape.experts, rows, shape.hidden))
    w2 = quantise(random(shape.experts, shape.hidden, shape.intermediate))
    ids = torch.stack([torch.randperm(shape.experts, generator=generator)[: shape.top_k] for _ in range(tokens)])
    inputs = random(tokens, shape.hidden).bfloat16(), ids.int(), random(tokens, shape.top_k).abs()
    return Work(shape, w13, w2, [inputs])


def as_cutile(call: Routed) -> Tensor:
    """What FlashInfer's kernel computes of the weights that it is given; its global scales multiply."""
    given = call.experts
    w13 = dequantise(Nvfp4(given.w13, given.w13_scale, 1 / given.w13_global_scale))
    w2 = dequantise(Nvfp4(given.w2, given.w2_scale, 1 / given.w2_global_scale))
    out = torch.zeros(len(call.x), call.out_width)
    for slot in range(call.ids.shape[1]):
        expert = call.ids[:, slot].long()
        inner = activated(torch.einsum("th,trh->tr", call.x.float(), w13[expert]), call.activation, SHAPE.gated)
        out += call.weights[:, slot, None] * torch.einsum("ti,thi->th", inner, w2[expert])
    return out.bfloat16()


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (1.1, False)])
def test_cutile_is_given_the_layers_weights_and_inputs(
    factor: float, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutile, "missing", lambda backend, device: "")
    monkeypatch.setattr(cutile, "cutile", lambda call: as_cutile(call) * factor)
    (peer,) = cutile.forms(work())
    whole, column = peer.error()
    assert (whole <= WHOLE and column <= COLUMN) is right


@pytest.mark.parametrize("name", [*PEERS, *APART])
def test_a_peer_that_is_missing_says_what_is(name: str) -> None:
    forms = PEERS[name] if name in PEERS else lambda given: APART[name](given).forms()
    with pytest.raises(NotInstalled, match=r"FlashInfer|flashinfer|humming|vllm"):
        forms(work())


@pytest.mark.parametrize(("halves", "rows", "columns"), [(1, 64, 128), (2, 128, 192)])
def test_marlin_is_given_every_weight_where_its_lanes_read_it(halves: int, rows: int, columns: int) -> None:
    weight = quantise(torch.randn(2, halves * 48, 112, generator=torch.Generator().manual_seed(0)))
    given = laid_out(weight, halves, rows, columns)
    assert given.sizes == (halves * rows, columns)
    wanted = dequantise(weight).unflatten(1, (halves, -1))
    for expert in range(2):
        plain = marlin_standin.weight(given.words[expert], given.scales[expert], *given.sizes) * given.factor[expert]
        padded = plain.float().unflatten(0, (halves, -1))
        torch.testing.assert_close(padded[:, :48, :112], wanted[expert], rtol=1e-6, atol=0)
        assert not padded[:, 48:].any()
        assert not padded[:, :, 112:].any()


def test_marlin_keeps_scales_that_are_all_small() -> None:
    weight = quantise(torch.randn(1, 64, 64))
    small = weight._replace(scales=(weight.scales.view(torch.float8_e4m3fn).float() / 2**12).to(torch.float8_e4m3fn))
    small = small._replace(scales=small.scales.view(torch.uint8))
    given = laid_out(small, 1, 64, 64)
    plain = marlin_standin.weight(given.words[0], given.scales[0], 64, 64) * given.factor[0]
    torch.testing.assert_close(plain.float(), dequantise(small)[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("files", "reason"),
    [(("_C.abi3.so",), "the vLLM here has no op no_such_op"), (("_moe_C.abi3.so",), "_moe_C.abi3.so cannot be loaded")],
    ids=["no-library", "no-such-torch"],
)
def test_a_vllm_without_marlin_is_told(
    files: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"not a library")
    spec = ModuleSpec("vllm", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(marlin, "find_spec", lambda name: spec)
    monkeypatch.setattr(marlin, "OP", "no_such_op")
    with pytest.raises(NotInstalled, match=reason):
        marlin.forms(work())


@pytest.mark.parametrize(
    ("activation", "gated"),
    [("silu", True), ("gelu-tanh", True), ("clamped-swiglu", True), ("silu", False), ("relu2", False)],
)
def test_humming_is_given_the_layers_activation_in_c(activation: str, gated: bool) -> None:
    rows = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)) * 6
    config = SimpleNamespace(shape_k=32 if gated else 64)
    values, _, scales = humming_standin.may_process_input(
        config,
        rows,
        activation_type="binary_split" if gated else "unary",
        activation_impl=in_c(activation, gated),
        use_pdl=False,
    )
    torch.testing.assert_close(values.float() * scales, to_e4m3(activated(rows, activation, gated)))


@pytest.mark.parametrize(
    ("x", "inner", "right"),
    [(to_e4m3, to_e4m3, True), (exact, to_e4m3, False), (to_e4m3, exact, False)],
    ids=["both", "no-first-rounding", "no-second-rounding"],
)
def test_at_many_tokens_a_rounding_to_fp8_that_is_left_out_is_out_of_bounds(x: Step, inner: Step, right: bool) -> None:
    layer = Fp8Layer(work(64, replace(SHAPE, hidden=256, intermediate=192)), (128, 128))
    ((hidden, ids, weights),) = layer.work.inputs
    rounding = Rounding(x, lambda rows: rows.bfloat16().float(), inner)
    out = routed_output(hidden.float(), ids, weights, layer.expert, SHAPE.activation, SHAPE.gated, rounding).bfloat16()
    whole, column = errors(out, layer.oracle(layer.work.inputs[0]))
    bound, column_bound = bounds(layer.work.tokens)
    assert (whole <= bound and column <= column_bound) is right


@pytest.mark.parametrize("tokens", [1, 8, 64])
@pytest.mark.parametrize("right", [True, False], ids=["right", "a-column-off-by-a-fifth"])
def test_one_column_of_fp8_that_is_off_is_out_of_bounds_at_any_tokens(tokens: int, right: bool) -> None:
    layer = Fp8Layer(work(tokens, replace(SHAPE, hidden=1024, intermediate=192)), (128, 128))
    wanted = layer.oracle(layer.work.inputs[0])
    out = wanted.bfloat16()
    if not right:
        out[:, wanted.norm(dim=0).argmax()] *= 1.2
    whole, column = errors(out, wanted)
    bound, column_bound = bounds(tokens)
    assert whole <= bound
    assert (column <= column_bound) is right
