"""FlashInfer's kernels as a custom op, ``padded_moe::flashinfer_experts``. FlashInfer is imported when it first runs."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harness.ops.by_name import by_name
from harness.ops.registry import register_op
from kernels.flashinfer.backends import BACKENDS, missing
from kernels.flashinfer.calls import Routed, cutlass, trtllm
from kernels.flashinfer.cutile import cutile
from kernels.layer.nvfp4 import quantise
from kernels.layer.weights import Experts, pad_experts

OP = "padded_moe::flashinfer_experts"

CALLS = {"trtllm": trtllm, "cutlass": cutlass, "cutile": cutile}


def _fake_flashinfer_experts(hidden_states: Tensor, out_width: int) -> Tensor:
    return hidden_states.new_empty(hidden_states.shape[0], out_width)


def _samples(device: torch.device) -> Iterator[tuple[Any, ...]]:
    """Arguments for each backend that runs on the device, with and without a gate, writing the padded and the true width."""
    for backend in (one for one in BACKENDS.values() if not missing(one, device)):
        for tokens, width, activation, gated in ((3, 272, "silu", True), (5, 528, "relu2", False)):
            generator = torch.Generator().manual_seed(width)
            first = quantise(torch.randn(4, 224 if gated else 112, width, generator=generator) / width**0.5)
            second = quantise(torch.randn(4, width, 112, generator=generator) / 112**0.5)
            padded = -(-width // backend.rule.hidden) * backend.rule.hidden
            experts = backend.prepare(pad_experts(first, second, hidden=padded, intermediate=128), gated)
            hidden = torch.randn(tokens, padded, generator=generator).bfloat16()
            weights, ids = torch.rand(tokens, 4, generator=generator).softmax(-1).topk(2)
            tensors = [x.to(device) for x in (hidden, ids.int(), weights, *experts.tensors().values())]
            yield (*tensors, backend.name, activation, 128, padded)
            yield (*tensors, backend.name, activation, 128, width)


# Each backend has an alignment rule of its own, so the op names none. There is no implementation for a CPU.
@register_op(OP, fake=by_name(_fake_flashinfer_experts), devices=("cuda",), samples=_samples)
def flashinfer_experts(
    hidden_states: Tensor,
    topk_ids: Tensor,
    topk_weights: Tensor,
    w13: Tensor,
    w13_scale: Tensor,
    w13_scalars: Tensor,
    w2: Tensor,
    w2_scale: Tensor,
    w2_scalars: Tensor,
    backend: str,
    activation: str,
    intermediate: int,
    out_width: int,
) -> Tensor:
    """The weighted sum of each token's experts, contiguous [T, out_width] in bf16.

    hidden_states [T, H] bf16, topk_ids [T, K] int32, topk_weights [T, K] fp32; the weights as
    ``kernels.flashinfer.weights`` prepares them for ``backend``, one of trtllm, cutlass and cutile; ``intermediate`` is
    their padded expert width and ``out_width`` at most H. trtllm and cutlass quantise tokens and intermediates to NVFP4.
    """
    if not hidden_states.shape[0]:
        return hidden_states.new_empty(0, out_width)
    experts = Experts(w13, w13_scale, w13_scalars, w2, w2_scale, w2_scalars)
    x, ids, weights = hidden_states.contiguous(), topk_ids.contiguous(), topk_weights.contiguous()
    return CALLS[backend](Routed(x, ids, weights, experts, activation, intermediate, out_width))
