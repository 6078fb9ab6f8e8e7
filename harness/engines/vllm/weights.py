"""The master weights of a case's layer, exact in bf16, and the fp32 oracle: no padding, no custom op, nothing of vLLM."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

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
    """[2S, H] and [H, S]"""
    latent: Pair | None
    """[W, H] and [H, W]"""


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
    w13, w2 = dense(experts, 2 * inner, width), dense(experts, width, inner) * each
    return Masters(
        w13,
        w2,
        (dense(2 * shared, hidden), dense(hidden, shared)) if shared else None,
        (dense(latent, hidden) / 2, dense(hidden, latent) / 2) if latent else None,
    )


def oracle(case: Case, hidden_states: Tensor, router_logits: Tensor) -> dict[str, Tensor]:
    """``routed`` and, where there is a shared expert, ``shared``, fp32 [T, H], summed over ``tp`` identical ranks."""
    weights_of_case, x = masters(case), hidden_states.float()
    inner = x @ weights_of_case.latent[0].float().T if weights_of_case.latent else x
    weights, ids = router_logits.softmax(-1).topk(case.top_k)
    weights = weights / weights.sum(-1, keepdim=True)
    experts = zip(weights_of_case.w13.float(), weights_of_case.w2.float(), strict=True)
    every = torch.stack([_gated(inner @ up.T) @ down.T for up, down in experts])
    chosen = every.transpose(0, 1).gather(1, ids[..., None].expand(-1, -1, every.shape[-1]))
    routed = case.scaling * (weights[..., None] * chosen).sum(1)
    parts = {"routed": routed @ weights_of_case.latent[1].float().T if weights_of_case.latent else routed}
    if weights_of_case.shared:
        parts["shared"] = _gated(x @ weights_of_case.shared[0].float().T) @ weights_of_case.shared[1].float().T
    return {name: case.tp * part for name, part in parts.items()}


def _gated(rows: Tensor) -> Tensor:
    half = rows.shape[-1] // 2
    gate = rows[..., :half]
    return gate / (1 + torch.exp(-gate)) * rows[..., half:]
