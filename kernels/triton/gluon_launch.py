"""The launches of the products for many tokens an expert. Imports Gluon, so import this where it is used."""

from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.triton.config import Long
from kernels.triton.gluon_product import long_product
from kernels.triton.pack import Packed
from kernels.triton.sorting import Routing, sort_pairs

# Consecutive tiles that share a tile of the weight.
GROUP = 8
# What a consumer's thread may have, and what each has at the start: a multiprocessor's 65536 by 384 threads.
CONSUMER, START = 224, 168


def long_products(
    x: Tensor, ids: Tensor, first: Packed, second: Packed, tiles: Long, intermediate: int, activation: str
) -> Tensor:
    """A row for each pair: x [T, H] and ids [T, K] to [T K, H]. Copies an x that is not aligned to 16 bytes."""
    experts, hidden = second.words.shape[0], second.words.shape[2]
    x = x if x.data_ptr() % 16 == 0 else x.clone()
    routing = sort_pairs(ids, experts, tiles.bm, tiles.more)
    inner, rows = x.new_empty(ids.numel(), intermediate), x.new_empty(ids.numel(), hidden)
    _launch(x, first, inner, routing, tiles, activation)
    _launch(inner, second, rows, routing, tiles)
    return rows


def _launch(
    source: Tensor, weight: Packed, target: Tensor, routing: Routing, tiles: Long, activation: str = ""
) -> None:
    """One product; the first one where an activation is named. A program for each multiprocessor takes tiles in turn."""
    rows, width = weight.words.shape[2], target.shape[1]
    gated = rows == 2 * width
    most = routing.most * triton.cdiv(width, tiles.parts * (64 if gated else 128))
    long_product[(min(_multiprocessors(source.device), most),)](
        source,
        weight.words,
        weight.scales,
        weight.decode,
        *routing.parts,
        target,
        source.stride(0),
        target.stride(0),
        rows,
        width,
        **constants(tiles, source.shape[1], routing.ids.shape[1], activation, gated=gated),
    )


def constants(tiles: Long, columns: int, top_k: int, activation: str, *, gated: bool) -> dict[str, Any]:
    """What a product is compiled for; the first one where an activation is named."""
    return {
        "K": columns,
        "TOP_K": top_k,
        "FIRST": bool(activation),
        "GATED": gated,
        "ACTIVATION": activation,
        "BM": tiles.bm,
        "PARTS": tiles.parts,
        "STAGES": tiles.stages,
        "MORE": tiles.more,
        "LAG": min(2, tiles.stages - 2),
        "GROUP": GROUP,
        "REGS": CONSUMER,
        "num_warps": 4,
        "maxnreg": START,
    }


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count
