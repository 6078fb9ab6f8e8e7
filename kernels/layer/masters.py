"""Master weights, drawn on the NVFP4 grid. Quantising them loses nothing, so the oracle needs no dequantiser.

Weights of reduced sizes are drawn on the CPU and cached. Weights of true sizes would take a hundred gigabytes in fp32, so
each expert is drawn on the case's device whenever it is needed, and none is cached.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import lru_cache, wraps
from typing import Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from harness.matrix.case import Case
from kernels.layer.drawing import DENSE_RMS, GRID_RMS, dense, on_grid, power, two_to_the
from kernels.layer.nvfp4 import BLOCK, SCALE_MAX, Nvfp4, quantise

_QUIET, _LEAST_NORMAL = 1, 2.0**-6
Made = TypeVar("Made")
Pair = tuple[Tensor, Tensor] | None
# How many sizes are cached, and how many elements a small one has. A sweep runs the cases of one model together, so few
# are enough. A proof returns to the same small sizes many times.
CACHED, CACHED_SMALL, SMALL = 3, 64, 2**22


@dataclass(frozen=True, slots=True)
class Sizes:
    """Everything that the weights depend on. Cases that differ in anything else share their weights."""

    hidden: int
    latent: int | None
    intermediate: int
    shared: int | None
    experts: int
    gated: bool
    rank: int = 0

    @classmethod
    def of(cls, case: Case) -> Self:
        """The sizes of a case."""
        sizes = case.hidden, case.latent, case.intermediate, case.shared, case.experts, case.gated
        return cls(*sizes, rank=case.rank or 0)

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
        """The same in every process. Python's hash() is not."""
        key = (
            astuple(self) if self.rank else astuple(self)[:-1]
        )  # rank 0 has the weights of a layer whose ranks are copies
        return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:7])


@dataclass(frozen=True, slots=True)
class Masters:
    """A layer's unpadded weights. Not to be written to."""

    w13: Tensor
    """fp32 [E, 2I or I, H]"""
    w2: Tensor
    """fp32 [E, H, I]"""
    shared: Pair
    """fp32 [2S or S, H] and [H, S], exact in bf16"""
    latent: Pair
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
    """Weights of true sizes, drawn on each access. On one kind of device they are always the same."""

    sizes: Sizes
    device: torch.device

    def expert(self, index: int) -> tuple[Tensor, Tensor]:
        """One expert's w13 [2I or I, H] and w2 [H, I], fp32."""
        w13, w2 = _routed(self.sizes, self._generator(1 + index), range(index, index + 1))
        return w13[0], w2[0]

    @property
    def shared(self) -> Pair:
        """bf16 [2S or S, H] and [H, S]."""
        return _shared(self.sizes, self._generator(0))

    @property
    def latent(self) -> Pair:
        """bf16 [L, H] and [H, L]."""
        return _latent(self.sizes, self._generator(-1))

    def _generator(self, part: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self.sizes.seed + part)


def masters_of(case: Case, device: torch.device) -> Masters | TrueMasters:
    """A case's weights on a device."""
    sizes = Sizes.of(case)
    return TrueMasters(sizes, device) if case.full else masters(sizes).on(device)


def dense_of(case: Case, device: torch.device) -> tuple[Pair, Pair]:
    """A case's shared and latent weights as ``Masters`` has them, in the case's dtype, and in memory of their own."""
    if case.full:
        drawn = TrueMasters(Sizes.of(case), device)  # anew in each access
        return drawn.shared, drawn.latent
    if case.dtype != "bfloat16":
        masters, dtype = masters_of(case, device), getattr(torch, case.dtype)
        return _converted(masters.shared, dtype), _converted(masters.latent, dtype)
    shared, latent = in_bf16(Sizes.of(case))
    return _copied(shared, device), _copied(latent, device)


def _moved(pair: Pair, device: torch.device) -> Pair:
    return pair and (pair[0].to(device), pair[1].to(device))


def _converted(pair: Pair, dtype: torch.dtype) -> Pair:
    return pair and (pair[0].to(dtype, copy=True), pair[1].to(dtype, copy=True))


def _copied(pair: Pair, device: torch.device) -> Pair:
    return pair and (pair[0].to(device, copy=True), pair[1].to(device, copy=True))


def _cached(make: Callable[[Sizes], Made]) -> Callable[[Sizes], Made]:
    large, small = lru_cache(maxsize=CACHED)(make), lru_cache(maxsize=CACHED_SMALL)(make)
    return wraps(make)(lambda sizes: small(sizes) if sizes.small else large(sizes))


@_cached
def masters(sizes: Sizes) -> Masters:
    """The weights of these sizes, always the same, scaled so that a projection preserves the rms of its input."""
    generator = torch.Generator().manual_seed(sizes.seed)
    routed, shared = _routed(sizes, generator, range(sizes.experts)), _shared(sizes, generator)
    # Ranks hold shards of the experts, and whole latent projections: those may come after the sum over the ranks.
    latent = masters(replace(sizes, rank=0)).latent if sizes.rank else _latent(sizes, generator)
    # Cached in fp32, which the oracle computes in: converting 100 MB in each call costs more than the products.
    return Masters(*routed, _to(torch.float32, shared), _to(torch.float32, latent))


@_cached
def in_bf16(sizes: Sizes) -> tuple[Pair, Pair]:
    """``shared`` and ``latent`` of ``masters`` as a layer holds them. Not to be written to."""
    weights = masters(sizes)
    return _to(torch.bfloat16, weights.shared), _to(torch.bfloat16, weights.latent)


def _to(dtype: torch.dtype, pair: Pair) -> Pair:
    return pair and (pair[0].to(dtype), pair[1].to(dtype))


def _routed(sizes: Sizes, generator: torch.Generator, experts: range) -> tuple[Tensor, Tensor]:
    width, inner = sizes.latent or sizes.hidden, sizes.intermediate
    w13 = on_grid((len(experts), sizes.halves * inner, width), generator, 1.0)
    w2 = on_grid((len(experts), width, inner), generator, _activated(GRID_RMS, width))
    # Experts differ in scale: otherwise a kernel that gives all of them the first one's global scale would pass. Their
    # outputs are of one size, since an activation is roughly quadratic and w2 divides by the square.
    index = torch.arange(experts.start, experts.stop, dtype=torch.int32, device=generator.device)
    each = two_to_the((index + 1 + sizes.rank) % 3 - 1)[:, None, None]
    return w13.mul_(each), w2.div_(each.square())


def _shared(sizes: Sizes, generator: torch.Generator) -> Pair:
    if sizes.shared is None:
        return None
    up = dense(sizes.halves * sizes.shared, sizes.hidden, generator, 1.0)
    return up, dense(sizes.hidden, sizes.shared, generator, _activated(DENSE_RMS, sizes.hidden))


def _latent(sizes: Sizes, generator: torch.Generator) -> Pair:
    if sizes.latent is None:
        return None
    down = dense(sizes.latent, sizes.hidden, generator, 1.0)
    return down, dense(sizes.hidden, sizes.latent, generator, 1.0)


def _activated(rms: float, columns: int) -> float:
    """The approximate rms of an activation's output: the square of its input's, which powers of two bring only near one."""
    return (power(rms, columns) * rms * math.sqrt(columns)) ** 2


@_cached
def quantised(sizes: Sizes) -> tuple[Nvfp4, Nvfp4]:
    """w13 and w2 of ``masters`` in NVFP4, padded to whole blocks of 16 columns. Not to be written to."""
    weights = masters(sizes)
    first, second = quantise(whole_blocks(weights.w13)), quantise(whole_blocks(weights.w2))
    return with_subnormal_scales(first), with_subnormal_scales(second)


def with_subnormal_scales(weight: Nvfp4, start: int = 0) -> Nvfp4:
    """The same values. Every third expert's largest block scale is the least normal number of E4M3, and the others are subnormal.

    Quiet rows of real checkpoints have such scales, and a kernel that takes them for zero would pass otherwise. ``start`` is
    the number of the first expert.
    """
    number = torch.arange(start, start + len(weight.scales), device=weight.scales.device)
    factor = torch.where(number % 3 == _QUIET, _LEAST_NORMAL / SCALE_MAX, 1.0)
    scales = weight.scales.view(torch.float8_e4m3fn).float() * factor[:, None, None]
    return Nvfp4(weight.codes, scales.to(torch.float8_e4m3fn).view(torch.uint8), weight.global_scale * factor)


def whole_blocks(weight: Tensor) -> Tensor:
    """[E, R, C] padded with zeros to a multiple of the block, which changes neither values nor scales."""
    return functional.pad(weight, (0, -weight.shape[-1] % BLOCK))
