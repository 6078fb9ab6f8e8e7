"""A LoRA adapter on every expert of a case's layer, and the weights that a rank has with its shard of it."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from harness.engines.released.ranks import here
from harness.matrix.case import Case

RANK, MAX_RANK = 8, 16
_SIZE = 0.7  # of the weights' own magnitude, so that no part of the adapter is lost in the tolerance


@dataclass(frozen=True, slots=True)
class Adapter:
    """Factors of the gate (1), down (2) and up (3) projections, bf16: ``a`` [E, r, in] and ``b`` [E, out, r].

    The expert width is that of all ranks together.
    """

    a: tuple[Tensor, Tensor, Tensor]
    b: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, case: Case) -> "Adapter":
        """The adapter of a case, the same in every process."""
        return _adapter(case.experts, case.width, case.intermediate * case.tp, RANK)

    @classmethod
    def former(cls, case: Case) -> "Adapter":
        """Another adapter, of the highest rank, for the slot that the case's own is loaded into after it."""
        return _adapter(case.experts, case.width, case.intermediate * case.tp, MAX_RANK)

    def product(self, name: str, case: Case) -> Tensor:
        """What the adapter adds on this rank to the weight ``gate``, ``down`` or ``up``, fp32."""
        inner, number, rank = case.intermediate, ("gate", "down", "up").index(name), here().rank if case.tp > 1 else 0
        mine = slice(rank * inner, (rank + 1) * inner)
        a, b = self.a[number].float(), self.b[number].float()
        return b @ a[..., mine] if name == "down" else b[:, mine] @ a

    def added(self, w13: Tensor, w2: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        """A rank's weights [E, 2I, W] and [E, W, I] with its shard of the adapter, fp32."""
        inner = w2.shape[-1]
        mine = slice(rank * inner, (rank + 1) * inner)
        gate, up = (self.b[i][:, mine].float() @ self.a[i].float() for i in (0, 2))
        down = self.b[1].float() @ self.a[1][..., mine].float()
        return w13.float() + torch.cat((gate, up), 1), w2.float() + down


def load(layer: Any, kernels: Any, case: Case, slot: int) -> None:
    """Give vLLM's LoRA layer its kernels, and then the adapters of a slot: one of a higher rank, and the case's own after it.

    vLLM's manager calls ``set_mapping`` once, when it puts the layer into the model, and ``set_lora`` for each adapter later. What
    a layer keeps of its slots when the mapping is set must still hold then.
    """
    layer.set_mapping(kernels)
    for adapter in (Adapter.former(case), Adapter.of(case)):
        layer.set_lora(slot, list(adapter.a), list(adapter.b))


@lru_cache(maxsize=4)
def _adapter(experts: int, width: int, inner: int, rank: int) -> Adapter:
    generator = torch.Generator().manual_seed(width + inner + rank - RANK)

    def factor(*shape: int) -> Tensor:
        return (torch.randn(experts, *shape, generator=generator) * _SIZE / math.sqrt(shape[-1])).bfloat16()

    a = factor(rank, width), factor(rank, inner), factor(rank, width)
    b = factor(inner, rank), factor(width, rank), factor(inner, rank)
    return Adapter(a, b)
