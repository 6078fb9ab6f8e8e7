"""The launches of the Triton kernel: align, two grouped products, combine; two launches for one token.

Imports triton, so import this where it is used.
"""

from functools import cache
from importlib.util import find_spec
from math import inf

import torch
import triton
from torch import Tensor

from kernels.triton.activate import activate_parts
from kernels.triton.config import Config, Sizes, Tiles, choose
from kernels.triton.gemm import grouped_product
from kernels.triton.one_launch import one_token, takes_one
from kernels.triton.pack import Packed
from kernels.triton.route import combine
from kernels.triton.sorting import Routing, narrowed, sort_pairs

# Triton's interpreter runs no inline assembly.
ASSEMBLY = not triton.knobs.runtime.interpret


def routed(
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    first: Packed,
    second: Packed,
    *,
    intermediate: int,
    activation: str,
    out_width: int,
    shared: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """The weighted sum of each token's experts: x [T, H], ids and weights [T, K] to a contiguous [T, out_width].

    Grids and buffers depend on shapes alone, so a CUDA graph can hold the launches.
    """
    tokens, top_k = ids.shape
    out = x.new_empty(tokens, out_width)
    if not tokens:
        return out
    experts, hidden = second.words.shape[0], second.words.shape[2]
    gated = first.words.shape[2] == 2 * intermediate
    x, ids, weights = x.contiguous(), narrowed(ids, experts).contiguous(), weights.contiguous()
    if takes_one(tokens, top_k) and not config:
        return one_token(x, ids, weights, first, second, intermediate, activation, shared, out, ASSEMBLY)
    chosen = config or choose(Sizes(hidden, intermediate, experts, top_k, gated), tokens)
    if chosen.long and takes_long(x.device):
        from kernels.triton.gluon_launch import long_products

        rows = long_products(x, ids, first, second, chosen.long, intermediate, activation)
    else:
        chosen = chosen.within(_shared_memory(x.device), gated)
        rows = _products(x, ids, first, second, chosen, intermediate, activation)
    sum_experts(rows, ids, weights, shared, out, experts)
    return out


@cache
def takes_long(device: torch.device) -> bool:
    """Whether the kernel for many tokens an expert runs on a device: on Hopper, with a Triton that has Gluon for it."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) != (9, 0):
        return False
    return find_spec("triton.experimental.gluon.language.nvidia.hopper") is not None


def _products(
    x: Tensor, ids: Tensor, first: Packed, second: Packed, config: Config, intermediate: int, activation: str
) -> Tensor:
    """A row for each pair, or for each part of one."""
    experts, hidden = second.words.shape[0], second.words.shape[2]
    routing = sort_pairs(ids, experts, config.bm)
    inner = first_product(x, first, routing, config, intermediate, activation)
    split = config.second.split
    rows = x.new_empty(ids.numel() * split, hidden, dtype=x.dtype if split == 1 else torch.float32)
    _product(inner, second, rows, hidden, routing, config.bm, config.second)
    return rows


def first_product(
    x: Tensor, weight: Packed, routing: Routing, config: Config, intermediate: int, activation: str
) -> Tensor:
    """Activated rows [pairs, I], in the order of the routing."""
    tiles, width = config.first, weight.words.shape[2]
    inner = x.new_empty(routing.ids.numel(), intermediate)
    whole = tiles.split == 1
    target = inner if whole else x.new_empty(len(inner) * tiles.split, width, dtype=torch.float32)
    _product(x, weight, target, intermediate, routing, config.bm, tiles, activation)
    if not whole:
        grid = len(inner), triton.cdiv(intermediate, 256)
        gated = width == 2 * intermediate
        activate_parts[grid](target, inner, intermediate, gated, activation, tiles.split, 256, num_warps=2)
    return inner


def _product(
    source: Tensor,
    weight: Packed,
    target: Tensor,
    width: int,
    routing: Routing,
    bm: int,
    tiles: Tiles,
    activation: str = "",
) -> None:
    """One grouped product of ``width`` columns. It is the layer's first product if an activation is named."""
    rows = weight.words.shape[2]
    grouped_product[(routing.most * triton.cdiv(width, tiles.bn) * tiles.split,)](
        source,
        weight.words,
        weight.scales,
        weight.decode,
        routing.ids,
        *routing.parts,
        target,
        source.stride(0),
        target.stride(0),
        rows,
        width,
        K=source.shape[1],
        E=weight.words.shape[0],
        TOP_K=routing.ids.shape[1],
        FIRST=bool(activation),
        GATED=rows == 2 * width,
        ACTIVATION=activation,
        BM=bm,
        BN=tiles.bn,
        SPLIT=tiles.split,
        STAGES=tiles.stages,
        SORTED=routing.is_sorted,
        ASM=ASSEMBLY,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )


def sum_experts(rows: Tensor, ids: Tensor, weights: Tensor, shared: Tensor | None, out: Tensor, experts: int) -> None:
    """Add each token's rows, and the shared expert's, into ``out``."""
    tokens, top_k = ids.shape
    block = min(1024 if tokens > 16 else 256, triton.next_power_of_2(out.shape[1]))
    addend = out if shared is None else shared  # never read without a shared expert, but a kernel needs a pointer
    combine[(tokens, triton.cdiv(out.shape[1], block))](
        rows,
        ids,
        weights,
        addend,
        out,
        rows.stride(0),
        addend.stride(0),
        rows.shape[1],
        out.shape[1],
        E=experts,
        TOP_K=top_k,
        SPLIT=len(rows) // ids.numel(),
        SHARED=shared is not None,
        BLOCK=block,
        num_warps=4,
    )


@cache
def _shared_memory(device: torch.device) -> float:
    """The bytes of shared memory that a program may take; no limit in the interpreter."""
    if device.type != "cuda":
        return inf
    properties = triton.runtime.driver.active.utils.get_device_properties(device.index)
    return float(properties["max_shared_mem"])
