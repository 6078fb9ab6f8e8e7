"""What a peer that brings only matrix products needs to be a whole layer: sorting, permuting, activation and sum.

Each is one launch that waits for no host, so that a graph can hold it. Imports triton.
"""

import torch
import triton
from torch import Tensor

from kernels.triton.peers import glue_language as language
from kernels.triton.sorting import narrowed, sort_pairs


def padded_blocks(ids: Tensor, experts: int, bm: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs in blocks of ``bm``, each of one expert and filled up with the number of pairs; the experts; the places used."""
    pairs = ids.numel()
    if ids.shape[0] == 1:  # a single token's experts are distinct: one block each
        most, routing = pairs, None
    else:
        routing = sort_pairs(narrowed(ids, experts), experts, bm)
        most = routing.most
    places, owners, used = ids.new_empty(most * bm), ids.new_empty(most), ids.new_empty(1)
    if routing is None:
        language.singles[(most,)](ids, places, owners, used, pairs, BM=bm, B=triton.next_power_of_2(bm), num_warps=1)
    else:
        language.spread[(most,)](
            *routing.parts, places, owners, used, pairs, BM=bm, B=triton.next_power_of_2(bm), num_warps=1
        )
    return places, owners, used


def permuted(x: Tensor, ids: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of each expert one after the other [pairs, H]; the experts' offsets int64; each pair's row. From two tokens on."""
    pairs, width = ids.numel(), x.shape[1]
    order = sort_pairs(ids, experts, 64).parts[0]
    offsets, place = torch.empty(experts + 1, dtype=torch.int64, device=x.device), torch.empty_like(ids)
    language.offsets[(experts + 1,)](
        ids, offsets, pairs, experts, triton.next_power_of_2(experts + 1), 4096, num_warps=4
    )
    out = x.new_empty(pairs, width)
    language.gather[(pairs, triton.cdiv(width, 2048))](x, order, out, place, width, ids.shape[1], 2048, num_warps=4)
    return out, offsets, place


def activate(x: Tensor, out: Tensor, gated: bool, activation: str) -> None:
    """The activation of [pairs, 2 I or I] into ``out`` [pairs, I]."""
    width = out.shape[1]
    language.activate[(len(x), triton.cdiv(width, 1024))](
        x, out, x.stride(0), width, gated, activation, 1024, num_warps=4
    )


def summed(rows: Tensor, place: Tensor, weights: Tensor, width: int) -> Tensor:
    """Each token's rows by its weights: rows [pairs, at least ``width``], of pair ``p`` at ``place[p]``."""
    out = rows.new_empty(len(weights), width)
    grid = len(weights), triton.cdiv(width, 1024)
    language.sum[grid](rows, place, weights, out, rows.stride(0), width, weights.shape[1], 1024, num_warps=4)
    return out
