"""The Triton kernel as a custom op, ``padded_moe::triton_experts``. Triton is imported when the op first runs."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harness.ops.by_name import by_name
from harness.ops.registry import register_op
from kernels.layer.nvfp4 import quantise
from kernels.triton.pack import Packed, pack_matrices

OP = "padded_moe::triton_experts"


def _fake_triton_experts(hidden_states: Tensor, out_width: int) -> Tensor:
    return hidden_states.new_empty(hidden_states.shape[0], out_width)


def _samples(device: torch.device) -> Iterator[tuple[Any, ...]]:
    """Arguments with and without a gate, at widths that are multiples of 16 and of no larger power of two."""
    for tokens, width, inner, activation, gated in ((3, 48, 80, "silu", True), (5, 144, 48, "relu2", False)):
        generator = torch.Generator().manual_seed(width)
        first = pack_matrices(quantise(torch.randn(4, 2 * inner if gated else inner, width, generator=generator)))
        second = pack_matrices(quantise(torch.randn(4, width, inner, generator=generator)))
        hidden = torch.randn(tokens, width, generator=generator).bfloat16()
        weights, ids = torch.rand(tokens, 4, generator=generator).softmax(-1).topk(2)
        matrices = (first.words, first.scales, first.decode, second.words, second.scales, second.decode)
        tensors = [x.to(device) for x in (hidden, ids.int(), weights, *matrices)]
        yield (*tensors, activation, inner, width)
        yield (*tensors, activation, inner, width + 16)


# NVFP4's own block of 16 is the only alignment that the op needs, so it needs no padding.
@register_op(OP, fake=by_name(_fake_triton_experts), samples=_samples, alignment="16")
def triton_experts(
    hidden_states: Tensor,
    topk_ids: Tensor,
    topk_weights: Tensor,
    w13: Tensor,
    w13_scale: Tensor,
    w13_decode: Tensor,
    w2: Tensor,
    w2_scale: Tensor,
    w2_decode: Tensor,
    activation: str,
    intermediate: int,
    out_width: int,
    shared: Tensor | None = None,
) -> Tensor:
    """The weighted sum of each token's experts, and ``shared`` [T, out_width] where given, contiguous [T, out_width].

    hidden_states [T, H] bf16, topk_ids [T, K] of int32, or another integer type, topk_weights [T, K] fp32; the weights as in
    ``kernels.triton.pack.Packed``. Columns beyond w2's rows are zero; an id that names no expert adds nothing.
    """
    check_dtypes(hidden_states, topk_ids)
    from kernels.triton.launch import routed

    return routed(
        hidden_states,
        topk_ids,
        topk_weights,
        Packed(w13, w13_scale, w13_decode),
        Packed(w2, w2_scale, w2_decode),
        intermediate=intermediate,
        activation=activation,
        out_width=out_width,
        shared=shared,
    )


def check_dtypes(hidden_states: Tensor, topk_ids: Tensor) -> None:
    """Raises TypeError, in a line, on what the kernel does not take."""
    if hidden_states.dtype != torch.bfloat16:
        raise TypeError(
            f"{OP}: expected bfloat16 hidden_states, got {hidden_states.dtype}; convert them with .bfloat16()"
        )
    if topk_ids.dtype.is_floating_point or topk_ids.dtype.is_complex or topk_ids.dtype == torch.bool:
        raise TypeError(f"{OP}: expected topk_ids of an integer type, got {topk_ids.dtype}; convert them with .int()")
