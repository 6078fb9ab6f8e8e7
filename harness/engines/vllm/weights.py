"""The master weights of a case's layer, exact in bf16."""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from harness.engines.released.ranks import here
from harness.engines.vllm.paths.fp4 import Packed
from harness.matrix.case import Case

Pair = tuple[Tensor, Tensor]
_NEXT_SHARD = 2**20  # to the seed, more than the sizes that it is made of
PACKED = ("vllm-fp4-hidden", "vllm-fp4-experts")
NORMALISE = ("vllm-norm-latent", "vllm-norm-latent-padded")
"""A norm gives for one of several equal parts what it gives for their sum, so the ranks of these paths hold shards of their own."""
DEFERS = "vllm-deferred-sum"
"""Its model sums over the ranks: each rank's own part is told from their sum, and from another rank's."""
OWN_SHARDS = (*NORMALISE, DEFERS)


@dataclass(frozen=True)
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

    @cached_property
    def exact(self) -> "Masters":
        """The same in float32, in which the oracle computes: to convert them in each call takes as long as its products."""

        def pair(weights: Pair | None) -> Pair | None:
            return weights and (weights[0].float(), weights[1].float())

        w13, w2, gate = (weight.float() for weight in (self.w13, self.w2, self.gate))
        return Masters(w13, w2, pair(self.shared), pair(self.latent), gate)


def masters(case: Case, rank: int | None = None) -> Masters:
    """The weights of a case on a rank, by default this process's. Ranks differ on the paths of ``OWN_SHARDS`` alone.

    The latent projections and the gate are whole on every rank.
    """
    sizes, is_packed = (case.hidden, case.latent, case.intermediate, case.shared, case.experts), case.path in PACKED
    first, shard = _masters(*sizes, is_packed, 0), here().rank if rank is None else rank
    if case.path not in OWN_SHARDS or case.tp == 1 or shard == 0:
        return first
    return replace(_masters(*sizes, is_packed, shard), latent=first.latent, gate=first.gate)


@lru_cache(maxsize=4)
def _masters(
    hidden: int, latent: int | None, inner: int, shared: int | None, experts: int, is_packed: bool, shard: int
) -> Masters:
    generator = torch.Generator().manual_seed(hidden + (latent or 0) + inner + (shared or 0) + _NEXT_SHARD * shard)
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
