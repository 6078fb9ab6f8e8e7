"""What ``harness bench`` times: the Triton kernel at the shapes of real models, beside bf16 and three ways to unpad."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from harness.base.errors import BadInput
from harness.benchmark.benchmark import Apart, Cell, Peer
from harness.matrix.shapes import Shape, load
from kernels.layer.experts import activate
from kernels.layer.nvfp4 import BLOCK, Nvfp4
from kernels.triton.config import Config
from kernels.triton.pack import Packed, pack_matrices
from kernels.triton.peers import cutile, humming, humming_fp8, marlin
from kernels.triton.peers.work import Inputs, Work, errors, expert, oracle
from kernels.triton.subject import missing

_PADDED = 256
# (at most so many tokens, so many sets of inputs). Calls take turns with them: at few tokens the active weights of one set
# would stay in the cache.
_SETS = ((8, 12), (64, 6), (2**31, 3))


# The peers by the name of their column. Each gives its forms, of which the fastest counts, or raises NotInstalled.
PEERS: dict[str, Callable[[Work], Sequence[Peer]]] = {
    "humming": humming.forms,
    "marlin": marlin.forms,
    "cutile": cutile.forms,
}
# Those of other arithmetic.
APART: dict[str, Callable[[Work], Apart]] = {"humming W4A8": humming_fp8.apart}
_SHAPE = load().shape
SHAPES = {
    "nemotron-3-nano-30b-a3b": _SHAPE("nemotron-3-nano-30b-a3b"),
    "qwen3-30b-a3b": _SHAPE("qwen3-30b-a3b"),
    "deepseek-v3 (32 of 256 experts)": replace(_SHAPE("deepseek-v3"), experts=32),
    "gpt-oss-20b": _SHAPE("gpt-oss-20b"),
}


@dataclass(frozen=True)
class Layer:
    """A shape's weights: NVFP4, packed for the kernel, and bf16 as torch._grouped_mm wants them."""

    shape: Shape
    w13: Nvfp4
    w2: Nvfp4
    packed: tuple[Packed, Packed]
    plain: tuple[Tensor, Tensor]


def cells(device: torch.device, shapes: Sequence[str], tokens: Sequence[int]) -> Iterator[Cell]:
    """A cell for each shape and token count. Raises BadInput where the kernel cannot run."""
    if why := missing(device):
        raise BadInput(f"the Triton kernel cannot be timed: {why}")
    for name in shapes:
        layer = made(SHAPES[name], device)
        for count in tokens:
            yield _cell(name, layer, count)


def made(shape: Shape, device: torch.device) -> Layer:
    """A layer of random weights."""
    rows = shape.intermediate * (2 if shape.gated else 1)
    w13 = _random(shape.experts, rows, shape.hidden, device)
    w2 = _random(shape.experts, shape.hidden, shape.intermediate, device)
    return Layer(shape, w13, w2, (pack_matrices(w13), pack_matrices(w2)), (_bf16(w13), _bf16(w2)))


def _random(experts: int, rows: int, columns: int, device: torch.device) -> Nvfp4:
    codes = torch.randint(0, 256, (experts, rows, columns // 2), dtype=torch.uint8, device=device)
    scales = (torch.rand(experts, rows, columns // BLOCK, device=device) * 200 + 20).to(torch.float8_e4m3fn)
    # Chosen so that products with rows of random codes are about one in size.
    return Nvfp4(codes, scales.view(torch.uint8), (torch.rand(experts, device=device) + 0.5) * 360 * columns**0.5)


def _bf16(weight: Nvfp4) -> Tensor:
    return torch.stack([expert(weight, index).bfloat16() for index in range(len(weight.codes))])


def _cell(name: str, layer: Layer, tokens: int) -> Cell:
    inputs = rotated(layer.shape, tokens, layer.w2.codes.device)
    width = -(-layer.shape.hidden // _PADDED) * _PADDED
    shared = torch.randn(tokens, width, device=layer.w2.codes.device).bfloat16()
    cut = layer.shape.hidden
    ways: dict[str, Callable[[Inputs], Tensor]] = {
        "narrow": lambda one: routed(layer, one, cut),
        "padded": lambda one: routed(layer, one, width),
        "slice, contiguous": lambda one: routed(layer, one, width)[:, :cut].contiguous(),
        "padded add, slice": lambda one: (routed(layer, one, width) + shared)[:, :cut].contiguous(),
    }
    calls = {way: [partial(function, one) for one in inputs] for way, function in ways.items()}
    calls["bf16 grouped_mm"] = [partial(_grouped(layer, one), one) for one in inputs]
    active = sum(len(one[1].unique()) for one in inputs) / len(inputs)
    elements = layer.shape.intermediate * layer.shape.hidden * (3 if layer.shape.gated else 2)
    operations = 2.0 * tokens * layer.shape.top_k * elements
    work = Work(layer.shape, layer.w13, layer.w2, inputs)
    peers = {peer: partial(forms, work) for peer, forms in PEERS.items()}
    apart = {peer: other(work) for peer, other in APART.items()}

    def error() -> tuple[float, float]:
        return errors(routed(layer, inputs[0], cut), oracle(work, inputs[0]))

    return Cell(name, tokens, calls, error, active * elements * 9 / 16, operations, peers, apart)


def rotated(shape: Shape, tokens: int, device: torch.device) -> list[Inputs]:
    """Sets of inputs, so many that the weights they read do not stay in the cache."""
    return [_inputs(shape, tokens, seed, device) for seed in range(next(s for most, s in _SETS if tokens <= most))]


def _inputs(sizes: Shape, tokens: int, seed: int, device: torch.device) -> Inputs:
    generator = torch.Generator(device=device).manual_seed(1000 * tokens + seed)
    hidden = torch.randn(tokens, sizes.hidden, generator=generator, device=device).bfloat16()
    ids = torch.rand(tokens, sizes.experts, generator=generator, device=device).topk(sizes.top_k).indices.int()
    return hidden, ids, torch.rand(tokens, sizes.top_k, generator=generator, device=device)


def routed(layer: Layer, one: Inputs, width: int) -> Tensor:
    """The kernel on one set of inputs, writing ``width`` columns, by the table's tiles."""
    return launched(layer.shape, layer.packed, one, width)


def launched(
    shape: Shape, packed: tuple[Packed, Packed], one: Inputs, width: int, config: Config | None = None
) -> Tensor:
    """The kernel on packed weights of a shape; ``config`` in place of the table's tiles."""
    from kernels.triton.launch import routed as kernel  # imports triton

    inner, activation = shape.intermediate, shape.activation
    return kernel(*one, *packed, intermediate=inner, activation=activation, out_width=width, config=config)


def _grouped(layer: Layer, one: Inputs) -> Callable[[Inputs], Tensor]:
    """The two products alone, on tokens that were sorted by expert beforehand: routing and sum are not timed."""
    order = one[1].flatten().long().argsort(stable=True)
    rows = one[0][order // layer.shape.top_k].contiguous()
    ends = torch.bincount(one[1].flatten(), minlength=layer.shape.experts).cumsum(0).int()
    first, second = (weight.transpose(1, 2) for weight in layer.plain)

    def products(_: Inputs) -> Tensor:
        inner = activate(torch._grouped_mm(rows, first, ends), layer.shape.activation, layer.shape.gated)
        return torch._grouped_mm(inner, second, ends)

    return products
