"""The routed experts as one custom op, ``padded_moe::routed_experts``, and its activations."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.ops.by_name import by_name
from harness.ops.registry import register_op
from kernels.layer.dequantised import dequantised, matrices
from kernels.layer.nvfp4 import Nvfp4, byte_table, quantise
from kernels.layer.weights import pad_experts

OP = "padded_moe::routed_experts"
# gpt-oss clamps its gate and up projections, and scales the argument of the gate's sigmoid.
CLAMP, STEEPNESS = 7.0, 1.702


def activate(projected: Tensor, activation: str, gated: bool) -> Tensor:
    """The activation of [T, 2I], gate and then up, or of [T, I] where not gated: [T, I]. Raises ValueError on an unknown one."""
    if not gated:
        return _point(projected, activation)
    gate, up = projected.chunk(2, -1)
    if activation == "clamped-swiglu":
        gate, up = gate.clamp(max=CLAMP), up.clamp(-CLAMP, CLAMP)
        return gate * torch.sigmoid(STEEPNESS * gate) * (up + 1)
    return _point(gate, activation) * up


def _point(x: Tensor, activation: str) -> Tensor:
    if activation == "silu":
        return functional.silu(x)
    if activation == "gelu-tanh":
        return functional.gelu(x, approximate="tanh")
    if activation == "relu2":
        return functional.relu(x).square()
    raise ValueError(
        f"no activation {activation!r} of this kind; expected silu, gelu-tanh, relu2 or gated clamped-swiglu"
    )


def _fake_routed_experts(hidden_states: Tensor, out_width: int) -> Tensor:
    return hidden_states.new_empty(hidden_states.shape[0], out_width)


def _samples(device: torch.device) -> Iterator[tuple[Any, ...]]:
    """Arguments at two sizes, each for a kernel that writes the padded width and for one that writes the true width."""
    for tokens, width, padded, activation, gated in ((3, 48, 64, "silu", True), (5, 80, 128, "relu2", False)):
        generator = torch.Generator().manual_seed(width)
        first = quantise(torch.randn(4, 32 if gated else 16, width, generator=generator))
        second = quantise(torch.randn(4, width, 16, generator=generator))
        experts = pad_experts(first, second, hidden=padded, intermediate=32)
        hidden = functional.pad(torch.randn(tokens, width, generator=generator), (0, padded - width)).bfloat16()
        scores = torch.rand(tokens, 4, generator=generator)
        weights, ids = scores.softmax(-1).topk(2)
        tensors = [x.to(device) for x in (hidden, ids.int(), weights, *experts.tensors().values())]
        yield (*tensors, activation, padded)
        yield (*tensors, activation, width)


@register_op(OP, fake=by_name(_fake_routed_experts), samples=_samples)
def routed_experts(
    hidden_states: Tensor,
    topk_ids: Tensor,
    topk_weights: Tensor,
    w13: Tensor,
    w13_scale: Tensor,
    w13_global_scale: Tensor,
    w2: Tensor,
    w2_scale: Tensor,
    w2_global_scale: Tensor,
    activation: str,
    out_width: int,
    swizzled_scales: bool = False,
) -> Tensor:
    """The weighted sum of each token's experts, contiguous [T, out_width] in hidden_states' dtype.

    hidden_states [T, H] bf16, topk_ids [T, K] int32, topk_weights [T, K] fp32; the weights as in
    ``kernels.layer.weights.Experts``. ``out_width`` is H for a kernel that writes the width it reads, and less for one
    that leaves out the padding. An id that names no expert adds nothing.

    Every expert computes every token, with weight zero where the token did not choose it. No shape depends on the
    routing, so a CUDA graph can capture the op. Products accumulate in fp32, and the intermediate is rounded to the dtype
    of hidden_states, as kernels do.
    """
    x = hidden_states.float()
    out = x.new_zeros(x.shape[0], out_width)
    if not x.shape[0]:
        return out.to(hidden_states.dtype)
    gated = w13.shape[1] > 2 * w2.shape[2]
    first, second = Nvfp4(w13, w13_scale, w13_global_scale), Nvfp4(w2, w2_scale, w2_global_scale)
    ups, downs = _matrices(((first, w13.shape[1]), (second, out_width)), swizzled_scales)
    for expert, (up, down) in enumerate(zip(ups, downs, strict=True)):
        inner = activate(x @ up.T, activation, gated).to(hidden_states.dtype).float()
        share = (topk_weights * (topk_ids == expert)).sum(-1, keepdim=True)
        out += share * (inner @ down.T)
    return out.to(hidden_states.dtype)


SCHEMA = routed_experts.schema
"""The schema that torch infers from the function above, for ops that take the same arguments."""


def _matrices(weights: Sequence[tuple[Nvfp4, int]], swizzled: bool) -> list[Iterable[Tensor]]:
    """Of each weight, the first rows of each expert's matrix, fp32, as many as are asked for; from the cache where possible."""
    cached = [dequantised(weight, rows, swizzled) for weight, rows in weights]
    if all(one is not None for one in cached):
        return [one for one in cached if one is not None]
    table = byte_table(weights[0][0].codes.device)
    return [matrices(weight, rows, swizzled, table) for weight, rows in weights]
