"""The master weights of a case's layer, exact in bf16, and the fp32 oracle: no padding, no custom op, nothing of SGLang."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from harness.matrix.case import Case

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Masters:
    """Unpadded weights, bf16, on the CPU. They are cached: do not write to them."""

    w13: Tensor
    """[E, 2I, W]: gate and up, W the width that the routed experts work at"""
    w2: Tensor
    """[E, W, I]"""
    shared: Pair | None
    """[S, H] and [H, S]"""
    latent: Pair | None
    """[W, H] and [H, W]"""
    gate: Tensor
    """[E, H]"""


def in_block(case: Case) -> str:
    """The model whose block holds the layer: gpt-oss where it has neither a shared expert nor a latent width, nor a scale."""
    return "nemotron" if case.shared or case.latent or case.scaling != 1 else "gpt-oss"


def masters(case: Case) -> Masters:
    """The weights of a case, the same in every process and on every rank."""
    return _masters(case.hidden, case.latent, case.intermediate, case.shared, case.experts)


@lru_cache(maxsize=4)
def _masters(hidden: int, latent: int | None, inner: int, shared: int | None, experts: int) -> Masters:
    generator = torch.Generator().manual_seed(hidden + (latent or 0) + inner + (shared or 0))
    width = latent or hidden

    def dense(*shape: int) -> Tensor:
        scale = 2 / math.sqrt(shape[-1])
        return (torch.randn(*shape, generator=generator) * scale).bfloat16()

    # Experts have different magnitudes. Otherwise a kernel that uses the first expert for all tokens would pass.
    each = torch.exp2(torch.arange(experts) % 3 - 1.0)[:, None, None].bfloat16()
    return Masters(
        dense(experts, 2 * inner, width),
        dense(experts, width, inner) * each,
        (dense(shared, hidden), dense(hidden, shared)) if shared else None,
        (dense(latent, hidden) / 2, dense(hidden, latent) / 2) if latent else None,
        _gate(hidden, experts),
    )


def _gate(hidden: int, experts: int) -> Tensor:
    """Each logit is one column of the input. So it is exact in any dtype, and no rounding changes which experts are chosen."""
    gate = torch.zeros(experts, hidden, dtype=torch.bfloat16)
    gate[torch.arange(experts), torch.arange(experts) * (hidden // experts)] = 1
    return gate


def oracle(case: Case, hidden_states: Tensor) -> dict[str, Tensor]:
    """``routed`` and, where there is a shared expert, ``shared``, fp32 [T, H], summed over ``tp`` identical ranks."""
    layer, x = masters(case), hidden_states.float()
    inner = x @ layer.latent[0].float().T if layer.latent else x
    routed = _experts(inner, layer.w13.float(), layer.w2.float(), *_top_k(case, x @ layer.gate.float().T))
    if layer.latent:
        routed = routed @ layer.latent[1].float().T
    parts = {"routed": case.tp * case.scaling * routed}
    if layer.shared:
        up, down = layer.shared
        # Nemotron's shared expert has an activation of its own, the square of relu, and no gate.
        parts["shared"] = case.tp * (torch.relu(x @ up.float().T).square() @ down.float().T)
    return parts


def _top_k(case: Case, logits: Tensor) -> tuple[Tensor, Tensor]:
    """(weights [T, K] that sum to one, ids [T, K]): of sigmoids for Nemotron, of a softmax for gpt-oss."""
    scores = logits.sigmoid() if in_block(case) == "nemotron" else logits.softmax(-1)
    weights, ids = scores.topk(case.top_k)
    return weights / weights.sum(-1, keepdim=True), ids


def _experts(x: Tensor, w13: Tensor, w2: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
    """The weighted sum over each token's experts, [T, W]."""
    every = torch.stack([_gated(x @ up.T) @ down.T for up, down in zip(w13, w2, strict=True)]).transpose(0, 1)
    chosen = every.gather(1, ids[..., None].expand(-1, -1, every.shape[-1]))
    return (weights[..., None] * chosen).sum(1)


def _gated(rows: Tensor) -> Tensor:
    gate, up = rows.chunk(2, -1)
    return functional.silu(gate) * up
