"""The stand-in's kernel: routed experts over padded rows, in torch, as one custom op. It needs only torch."""

import torch
from torch import Tensor
from torch.nn import functional

from harness.ops.product import product
from harness.ops.registry import register_op

NAME = "harness::sglang_experts"


def _fake(x: Tensor, w13: Tensor, w2: Tensor, weights: Tensor, ids: Tensor, scale: float) -> Tensor:
    return x.new_empty((x.shape[0], w2.shape[1]))


@register_op(NAME, "(Tensor x, Tensor w13, Tensor w2, Tensor weights, Tensor ids, float scale) -> Tensor", fake=_fake)
def experts(x: Tensor, w13: Tensor, w2: Tensor, weights: Tensor, ids: Tensor, scale: float) -> Tensor:
    """Rows [T, padded] to [T, W]: the weighted sum over each token's experts, times ``scale``.

    w13 is [E, 2I, padded] and w2 [E, W, I]. weights and ids are [T, K]; an id of -1 names no expert.
    """
    out = x.new_zeros((x.shape[0], w2.shape[1]), dtype=torch.float32)
    for expert in range(w13.shape[0]):
        share = (weights * (ids == expert)).sum(-1, keepdim=True)
        gate, up = product(x, w13[expert]).float().chunk(2, -1)
        inner = (functional.silu(gate) * up).to(x.dtype)
        out += share * product(inner, w2[expert]).float()
    return (out * scale).to(x.dtype)
