"""The launches of the Triton kernel: align, two grouped products, combine. Imports triton; import it where it is used."""

import torch
import triton
from torch import Tensor

from kernels.triton_config import Config, Sizes, choose
from kernels.triton_gemm import grouped_product
from kernels.triton_pack import Packed
from kernels.triton_route import align, combine

# What the interpreter has no inline assembly for.
ASSEMBLY = not triton.knobs.runtime.interpret
CHUNK = 1024


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
    sizes = Sizes(hidden, intermediate, experts, top_k, gated)
    tiles = config or choose(sizes, tokens)
    x, ids, weights = x.contiguous(), ids.contiguous(), weights.contiguous()
    pairs = tokens * top_k
    blocks = most_blocks(pairs, experts, tiles.bm)
    table = torch.empty(1 + 3 * blocks + pairs, dtype=torch.int32, device=x.device)
    count, where, order = table[:1], table[1 : 1 + 3 * blocks], table[1 + 3 * blocks :]
    chunk = min(CHUNK, max(32, triton.next_power_of_2(pairs)))
    align[(experts,)](
        ids, order, where, count, pairs, experts, tiles.bm, triton.next_power_of_2(experts + 1), chunk, num_warps=4
    )
    inner, rows = x.new_empty(pairs, intermediate), x.new_empty(pairs, hidden)
    for source, weight, target, is_first in ((x, first, inner, True), (inner, second, rows, False)):
        chosen = tiles.first if is_first else tiles.second
        width = target.shape[1]
        grouped_product[(blocks * triton.cdiv(width, chosen.bn),)](
            source,
            weight.words,
            weight.scales,
            weight.decode,
            order,
            where,
            count,
            target,
            source.stride(0),
            target.stride(0),
            weight.words.shape[2],
            width,
            K=source.shape[1],
            TOP_K=top_k,
            FIRST=is_first,
            GATED=gated and is_first,
            ACTIVATION=activation,
            BM=tiles.bm,
            BN=chosen.bn,
            STAGES=chosen.stages,
            ASM=ASSEMBLY,
            num_warps=chosen.warps,
            num_stages=chosen.stages,
        )
    sum_experts(rows, ids, weights, shared, out, experts)
    return out


def sum_experts(rows: Tensor, ids: Tensor, weights: Tensor, shared: Tensor | None, out: Tensor, experts: int) -> None:
    """Add each token's rows, and the shared expert's, into ``out``."""
    tokens, top_k = ids.shape
    block = min(1024 if tokens > 16 else 256, triton.next_power_of_2(out.shape[1]))
    held = out if shared is None else shared
    combine[(tokens, triton.cdiv(out.shape[1], block))](
        rows,
        ids,
        weights,
        held,
        out,
        rows.stride(0),
        held.stride(0),
        rows.shape[1],
        out.shape[1],
        E=experts,
        TOP_K=top_k,
        SHARED=shared is not None,
        BLOCK=block,
        num_warps=4,
    )


def most_blocks(pairs: int, experts: int, bm: int) -> int:
    """The most blocks that any routing of so many pairs takes: every expert's last block may hold one pair."""
    return min(pairs, min(pairs, experts) + pairs // bm)
