"""The master weights of a case's layer, exact in bf16, and the fp32 oracle: no padding, no custom op, nothing of vLLM."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from harness.engines.vllm.paths.adapters import Adapter
from harness.engines.vllm.paths.fp4 import Packed
from harness.engines.vllm.routing import MODULAR, special_top_k, top_k, without_fillers
from harness.matrix.case import Case

Pair = tuple[Tensor, Tensor]
_EPS = 1e-6
PACKED = ("vllm-fp4-hidden", "vllm-fp4-experts")
NORMALISE = ("vllm-norm-latent", "vllm-norm-latent-padded")


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
    gate: Tensor
    """[E, H]"""
    packed: tuple[Packed, Packed] | None = None
    """w13 and w2 as they are in an FP4 checkpoint"""


def masters(case: Case) -> Masters:
    """The weights of a case, the same in every process and on every rank."""
    is_packed = case.path in PACKED
    return _masters(case.hidden, case.latent, case.intermediate, case.shared, case.experts, is_packed)


@lru_cache(maxsize=4)
def _masters(hidden: int, latent: int | None, inner: int, shared: int | None, experts: int, is_packed: bool) -> Masters:
    generator = torch.Generator().manual_seed(hidden + (latent or 0) + inner + (shared or 0))
    width = latent or hidden

    def dense(*shape: int) -> Tensor:
        scale = 2 / math.sqrt(shape[-1])
        return (torch.randn(*shape, generator=generator) * scale).bfloat16()

    # Experts have different magnitudes. Otherwise a kernel that uses the first expert for all tokens would pass.
    each = torch.exp2(torch.arange(experts) % 3 - 1.0)[:, None, None].bfloat16()
    w13, w2 = dense(experts, 2 * inner, width), dense(experts, width, inner) * each
    made = Masters(
        w13,
        w2,
        (dense(2 * shared, hidden), dense(hidden, shared)) if shared else None,
        (dense(latent, hidden) / 2, dense(hidden, latent) / 2) if latent else None,
        dense(experts, hidden),
    )
    return _packed(made, generator) if is_packed else made


def _packed(dense: Masters, generator: torch.Generator) -> Masters:
    """The same layer with weights of FP4."""
    w13, w2 = (Packed.random(generator, *weight.shape) for weight in (dense.w13, dense.w2))
    return Masters(w13.unpacked(), w2.unpacked(), dense.shared, dense.latent, dense.gate, (w13, w2))


def oracle(case: Case, hidden_states: Tensor, router_logits: Tensor | None) -> dict[str, Tensor]:
    """``routed`` and, where there is a shared expert, ``shared``, fp32 [T, H], summed over ``tp`` ranks.

    The ranks are identical but for an adapter, of which each has its own shard.
    """
    weights_of_case, x = masters(case), hidden_states.float()
    logits = x @ weights_of_case.gate.float().T if router_logits is None else router_logits
    routed = _routed(case, weights_of_case, x, logits)
    divides = case.dtype == "float16" and weights_of_case.shared is not None
    # What follows the scaling in the layer undoes it where it normalises.
    parts = {"routed": routed if divides or case.path in NORMALISE else case.scaling * routed}
    if weights_of_case.shared:
        up, down = weights_of_case.shared
        parts["shared"] = case.tp * (_gated(x @ up.float().T) @ down.float().T) / (case.scaling if divides else 1)
    return parts


def _routed(case: Case, weights_of_case: Masters, x: Tensor, logits: Tensor) -> Tensor:
    """The routed experts' output, [T, H], not scaled."""
    inner = x @ weights_of_case.latent[0].float().T if weights_of_case.latent else x
    routing = _router_of(case)(logits, case.top_k)
    if case.path == "vllm-lora":
        adapter = Adapter.of(case)
        routed = sum(
            _experts(inner, *adapter.added(weights_of_case.w13, weights_of_case.w2, r), *routing)
            for r in range(case.tp)
        )
        assert isinstance(routed, Tensor)
        return routed
    routed = case.tp * _experts(inner, weights_of_case.w13.float(), weights_of_case.w2.float(), *routing)
    if weights_of_case.latent is None:
        return routed
    if case.path in NORMALISE:
        routed = routed * (routed.pow(2).mean(-1, keepdim=True) + _EPS).rsqrt()
    return routed @ weights_of_case.latent[1].float().T


def _router_of(case: Case) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """What chooses the experts of a case."""
    if case.path == "vllm-padded-rows":
        return without_fillers
    return special_top_k if case.path in MODULAR else top_k


def _experts(x: Tensor, w13: Tensor, w2: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
    """The weighted sum over each token's experts, [T, W]. An id of -1 names no expert."""
    every = torch.stack([_gated(x @ up.T) @ down.T for up, down in zip(w13, w2, strict=True)]).transpose(0, 1)
    chosen = every.gather(1, ids.clamp(min=0)[..., None].expand(-1, -1, every.shape[-1]))
    return ((weights * (ids >= 0))[..., None] * chosen).sum(1)


def _gated(rows: Tensor) -> Tensor:
    half = rows.shape[-1] // 2
    gate = rows[..., :half]
    return gate / (1 + torch.exp(-gate)) * rows[..., half:]
