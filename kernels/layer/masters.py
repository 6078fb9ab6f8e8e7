"""Master weights: made on the NVFP4 grid, so that quantising loses nothing and the oracle needs no dequantiser.

Shrunk ones are made on the CPU and kept. Those of true size would take a hundred gigabytes in fp32: each expert is made
anew, on the case's device, whenever somebody asks for it, and none is kept.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache, wraps
from typing import Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from harness.matrix.case import Case
from kernels.layer.drawing import DENSE_RMS, GRID_RMS, dense, on_grid, power, two_to_the
from kernels.layer.nvfp4 import BLOCK, Nvfp4, quantise

Made = TypeVar("Made")
# A sweep runs the cases of one model together, so few are kept. A proof comes back to the same small sizes again and
# again.
KEPT, KEPT_SMALL, SMALL = 3, 64, 2**22


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the weights depend on: cases that differ in anything else share them."""

    hidden: int
    latent: int | None
    intermediate: int
    shared: int | None
    experts: int
    gated: bool

    @classmethod
    def of(cls, case: Case) -> Self:
        """The sizes of a case."""
        return cls(case.hidden, case.latent, case.intermediate, case.shared, case.experts, case.gated)

    @property
    def halves(self) -> int:
        """How many projections w13 holds: gate and up, or one."""
        return 2 if self.gated else 1

    @property
    def small(self) -> bool:
        """Whether the weights take little memory."""
        experts = 3 * self.experts * self.intermediate * (self.latent or self.hidden)
        return experts + self.hidden * ((self.shared or 0) * 3 + (self.latent or 0) * 2) < SMALL

    @property
    def seed(self) -> int:
        """The same in every process, which hash() is not."""
        return int.from_bytes(hashlib.sha256(repr(astuple(self)).encode()).digest()[:7])


@dataclass(frozen=True, slots=True)
class Masters:
    """A layer's unpadded weights. Not to be written to."""

    w13: Tensor
    """fp32 [E, 2I or I, H]"""
    w2: Tensor
    """fp32 [E, H, I]"""
    shared: tuple[Tensor, Tensor] | None
    """bf16 [2S or S, H] and [H, S]"""
    latent: tuple[Tensor, Tensor] | None
    """fp32 [L, H] and [H, L], exact in bf16"""

    def expert(self, index: int) -> tuple[Tensor, Tensor]:
        """One expert's w13 and w2."""
        return self.w13[index], self.w2[index]

    def on(self, device: torch.device) -> "Masters":
        """The same on a device."""
        w13, w2 = self.w13.to(device), self.w2.to(device)
        return Masters(w13, w2, _moved(self.shared, device), _moved(self.latent, device))


@dataclass(frozen=True, slots=True)
class TrueMasters:
    """The weights of true sizes, made when they are asked for: always the same on one kind of device."""

    sizes: Sizes
    device: torch.device

    def expert(self, index: int) -> tuple[Tensor, Tensor]:
        """One expert's w13 [2I or I, H] and w2 [H, I], fp32."""
        w13, w2 = _routed(self.sizes, self._generator(1 + index), range(index, index + 1))
        return w13[0], w2[0]

    @property
    def shared(self) -> tuple[Tensor, Tensor] | None:
        """bf16 [2S or S, H] and [H, S]."""
        return _shared(self.sizes, self._generator(0))

    @property
    def latent(self) -> tuple[Tensor, Tensor] | None:
        """bf16 [L, H] and [H, L]."""
        return _latent(self.sizes, self._generator(-1))

    def _generator(self, part: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self.sizes.seed + part)


def masters_of(case: Case, device: torch.device) -> Masters | TrueMasters:
    """A case's weights on a device."""
    sizes = Sizes.of(case)
    return TrueMasters(sizes, device) if case.full else masters(sizes).on(device)


def _moved(pair: tuple[Tensor, Tensor] | None, device: torch.device) -> tuple[Tensor, Tensor] | None:
    return pair and (pair[0].to(device), pair[1].to(device))


def _kept(make: Callable[[Sizes], Made]) -> Callable[[Sizes], Made]:
    large, small = lru_cache(maxsize=KEPT)(make), lru_cache(maxsize=KEPT_SMALL)(make)
    return wraps(make)(lambda sizes: small(sizes) if sizes.small else large(sizes))


@_kept
def masters(sizes: Sizes) -> Masters:
    """The weights of these sizes, always the same, scaled so that a projection keeps the size of what it is given."""
    generator = torch.Generator().manual_seed(sizes.seed)
    routed, shared = _routed(sizes, generator, range(sizes.experts)), _shared(sizes, generator)
    latent = _latent(sizes, generator)
    # Kept in fp32, which the oracle computes in: converting 100 MB at each of its calls costs more than its products.
    return Masters(*routed, shared, latent and (latent[0].float(), latent[1].float()))


def _routed(sizes: Sizes, generator: torch.Generator, experts: range) -> tuple[Tensor, Tensor]:
    width, inner = sizes.latent or sizes.hidden, sizes.intermediate
    w13 = on_grid((len(experts), sizes.halves * inner, width), generator, 1.0)
    w2 = on_grid((len(experts), width, inner), generator, _activated(GRID_RMS, width))
    # Experts differ in size, or a kernel that scales all of them as the first one would pass; what they give does not,
    # as an activation is about quadratic.
    number = torch.arange(experts.start, experts.stop, dtype=torch.int32, device=generator.device)
    each = two_to_the((number + 1) % 3 - 1)[:, None, None]
    return w13.mul_(each), w2.div_(each.square())


def _shared(sizes: Sizes, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
    if sizes.shared is None:
        return None
    up = dense(sizes.halves * sizes.shared, sizes.hidden, generator, 1.0)
    return up, dense(sizes.hidden, sizes.shared, generator, _activated(DENSE_RMS, sizes.hidden))


def _latent(sizes: Sizes, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
    if sizes.latent is None:
        return None
    down = dense(sizes.latent, sizes.hidden, generator, 1.0)
    return down, dense(sizes.hidden, sizes.latent, generator, 1.0)


def _activated(rms: float, columns: int) -> float:
    """About the rms that an activation leaves: quadratic in its input, which powers of two bring only near one."""
    return (power(rms, columns) * rms * math.sqrt(columns)) ** 2


@_kept
def quantised(sizes: Sizes) -> tuple[Nvfp4, Nvfp4]:
    """w13 and w2 of ``masters`` in NVFP4, padded to whole blocks and no further. Not to be written to."""
    found = masters(sizes)
    return quantise(whole_blocks(found.w13)), quantise(whole_blocks(found.w2))


def whole_blocks(weight: Tensor) -> Tensor:
    """[E, R, C] with zeros to a multiple of the block: its values and its blocks' scales stay as they are."""
    return functional.pad(weight, (0, -weight.shape[-1] % BLOCK))
