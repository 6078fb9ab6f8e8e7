"""Weights in the layouts of FlashInfer's NVFP4 kernels, in plain torch: order of gate and up, rows, scale layout, scalars.

Each function takes padded ``Experts`` in the linear layout, gate over up. It returns ``Experts`` that hold the scalars of
its kernel in place of the two global scales. Sources: flashinfer/fused_moe/prepare.py (0.7.2.post1), flashinfer/utils.py,
csrc/fused_moe/cutlass_backend, and FlashInfer's tests/moe/test_trtllm_gen_fused_moe.py for the scalars.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kernels.layer.nvfp4 import swizzle_128x4
from kernels.layer.weights import Experts

Prepare = Callable[[Experts, bool], Experts]

# Global scales of activations, which an engine calibrates beforehand: here for tokens up to 18 and intermediates up to 290.
# Each is 37 times a power of two. With a prime above 31 no bf16 value lies halfway between two codes, and no block's amax
# halfway between two scales. At such a point a kernel's approximate reciprocal could round either way, and no oracle could
# say which is correct.
INPUT_SCALE, INNER_SCALE = 37 * 4.0, 37 / 4
# Epilogue tiles of 128 rows are shuffled in blocks of 32: row 8a + b of a block is row 4b + a of the matrix.
_SHUFFLED = 32


def for_trtllm(experts: Experts, gated: bool) -> Experts:
    """Rows up, gate, up, gate, ... and then shuffled, scales 128x4; w13_global_scale [2, E], w2_global_scale [E].

    The scalars are output1_scale_scalar and output1_scale_gate_scalar, and output2_scale_scalar. Without a gate the
    first product is dequantised by the second of them alone, and the first is the intermediate's global scale.
    """
    rows = experts.w13.shape[1]
    order = up_gate_rows(rows) if gated else torch.arange(rows)
    first, second = order[shuffled_rows(rows)], shuffled_rows(experts.w2.shape[1])
    decode = 1 / (INPUT_SCALE * experts.w13_global_scale)
    output1 = INNER_SCALE * decode if gated else torch.full_like(decode, INNER_SCALE)
    return Experts(
        experts.w13[:, first].contiguous(),
        swizzle_128x4(experts.w13_scale[:, first]),
        torch.stack((output1, decode)),
        experts.w2[:, second].contiguous(),
        swizzle_128x4(experts.w2_scale[:, second]),
        1 / (INNER_SCALE * experts.w2_global_scale),
    )


def for_cutlass(experts: Experts, gated: bool) -> Experts:
    """Up over gate, scales 128x4; both global scales are the dequantising scale of their product, fp32 [E]."""
    return Experts(
        up_over_gate(experts.w13, gated),
        swizzle_128x4(up_over_gate(experts.w13_scale, gated)),
        1 / (INPUT_SCALE * experts.w13_global_scale),
        experts.w2,
        swizzle_128x4(experts.w2_scale),
        1 / (INNER_SCALE * experts.w2_global_scale),
    )


def for_cutile(experts: Experts, gated: bool) -> Experts:
    """Gate over up and linear scales, as they are; both global scales are what a weight is multiplied by, fp32 [E].

    This is the layout below SM100. A checkpoint has up over gate, and FlashInfer's own preparation swaps them.
    """
    return Experts(
        experts.w13,
        experts.w13_scale,
        1 / experts.w13_global_scale,
        experts.w2,
        experts.w2_scale,
        1 / experts.w2_global_scale,
    )


def up_gate_rows(rows: int) -> Tensor:
    """For each row of up, gate, up, gate, ...: its row in [gate; up]."""
    gate, up = torch.arange(rows).chunk(2)
    return torch.stack((up, gate), 1).flatten()


def shuffled_rows(rows: int) -> Tensor:
    """For each row of the shuffled matrix: its row in the plain one. ``rows`` is a multiple of 32."""
    return torch.arange(rows).view(-1, 8, _SHUFFLED // 8).transpose(1, 2).flatten()


def up_over_gate(stack: Tensor, gated: bool) -> Tensor:
    """[E, 2I, C] with gate over up to a new [E, 2I, C] with up over gate. Not gated, the stack is returned as it is."""
    return torch.cat(stack.chunk(2, 1)[::-1], 1) if gated else stack
