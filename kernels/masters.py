"""Master weights: made on the NVFP4 grid, so that quantising loses nothing and the oracle needs no dequantiser."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache, wraps
from typing import Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from harness.case import Case, round_up
from kernels.nvfp4 import BLOCK, Nvfp4, quantise

Made = TypeVar("Made")
# A sweep runs the cases of one model together; true sizes take gigabytes, so few are kept. A proof comes back to the
# same small sizes again and again.
KEPT, KEPT_SMALL, SMALL = 3, 64, 2**22
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
EXPONENT_BITS = 0x7F80
# Root mean squares before normalising: of codes with one 6 in 16, times scales 1 to 1/8; of mantissas from 1 to 2.
GRID_RMS = math.sqrt((15 * sum(x * x for x in E2M1) / 8 + 36) / 16 * (1 + 1 / 4 + 1 / 16 + 1 / 64) / 4)
DENSE_RMS = math.sqrt(7 / 3)


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
    """A layer's unpadded weights, on the CPU. Not to be written to."""

    w13: Tensor
    """fp32 [E, 2I or I, H]"""
    w2: Tensor
    """fp32 [E, H, I]"""
    shared: tuple[Tensor, Tensor] | None
    """bf16 [2S or S, H] and [H, S]"""
    latent: tuple[Tensor, Tensor] | None
    """fp32 [L, H] and [H, L], exact in bf16"""


def _kept(make: Callable[[Sizes], Made]) -> Callable[[Sizes], Made]:
    large, small = lru_cache(maxsize=KEPT)(make), lru_cache(maxsize=KEPT_SMALL)(make)
    return wraps(make)(lambda sizes: small(sizes) if sizes.small else large(sizes))


@_kept
def masters(sizes: Sizes) -> Masters:
    """The weights of these sizes, always the same, scaled so that a projection keeps the size of what it is given."""
    generator = torch.Generator().manual_seed(sizes.seed)
    return Masters(*_routed(sizes, generator), _shared(sizes, generator), _latent(sizes, generator))


def _routed(sizes: Sizes, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    width, inner = sizes.latent or sizes.hidden, sizes.intermediate
    w13 = _on_grid((sizes.experts, sizes.halves * inner, width), generator, 1.0)
    w2 = _on_grid((sizes.experts, width, inner), generator, _activated(GRID_RMS, width))
    # Experts differ in size, or a kernel that scales all of them as the first one would pass; what they give does not,
    # as an activation is about quadratic.
    each = torch.exp2((torch.arange(sizes.experts) + 1) % 3 - 1.0)[:, None, None]
    return w13.mul_(each), w2.div_(each.square())


def _shared(sizes: Sizes, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
    if sizes.shared is None:
        return None
    up = _dense(sizes.halves * sizes.shared, sizes.hidden, generator, 1.0)
    return up, _dense(sizes.hidden, sizes.shared, generator, _activated(DENSE_RMS, sizes.hidden))


def _latent(sizes: Sizes, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
    if sizes.latent is None:
        return None
    down = _dense(sizes.latent, sizes.hidden, generator, 1.0)
    # Kept in fp32, which the oracle computes in: converting 100 MB at each of its calls costs more than its products.
    return down.float(), _dense(sizes.hidden, sizes.latent, generator, 1.0).float()


def _activated(rms: float, columns: int) -> float:
    """About the rms that an activation leaves: quadratic in its input, which powers of two bring only near one."""
    return (_power(rms, columns) * rms * math.sqrt(columns)) ** 2


@_kept
def quantised(sizes: Sizes) -> tuple[Nvfp4, Nvfp4]:
    """w13 and w2 of ``masters`` in NVFP4, padded to whole blocks and no further. Not to be written to."""
    found = masters(sizes)
    return quantise(_whole_blocks(found.w13)), quantise(_whole_blocks(found.w2))


def _whole_blocks(weight: Tensor) -> Tensor:
    """[E, R, C] with zeros to a multiple of the block: its values and its blocks' scales stay as they are."""
    return functional.pad(weight, (0, -weight.shape[-1] % BLOCK))


def _nibbles(count: int, generator: torch.Generator) -> Tensor:
    """Random int32 in 0 to 15. Whole words are drawn and cut up, which is eight times cheaper than drawing each."""
    words = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return (words.view(torch.uint8)[:count] & 15).int()


def _power(rms: float, columns: int, size: float = 1.0) -> float:
    """The power of two by which weights of this rms turn inputs of rms ``size`` into outputs of rms nearest to one."""
    return 2.0 ** round(math.log2(1 / (rms * math.sqrt(columns) * size)))


def _on_grid(shape: tuple[int, int, int], generator: torch.Generator, size: float) -> Tensor:
    """Weights that NVFP4 holds exactly: E2M1 codes, each block with a largest one, times powers of two."""
    *rows, columns = shape
    blocks = (*rows, round_up(columns, BLOCK))
    codes = _nibbles(math.prod(blocks), generator).view(-1, BLOCK)
    codes[:, 0] |= 7
    values = torch.tensor([*E2M1, *(-x for x in E2M1)]).index_select(0, codes.flatten()).view(-1, BLOCK)
    halvings = _nibbles(len(codes), generator) & 3
    factor = _power(GRID_RMS, shape[-1], size)
    whole = values.mul_(torch.exp2(-halvings.float())[:, None] * factor).view(blocks)
    return whole if blocks == shape else whole[..., :columns].contiguous()


def _dense(rows: int, columns: int, generator: torch.Generator, size: float) -> Tensor:
    """bf16 [rows, columns]: a random sign and mantissa under one exponent, made of random bits without conversion."""
    words = torch.empty(-(-rows * columns // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    exponent = 127 + int(math.log2(_power(DENSE_RMS, columns, size)))
    bits = words.view(torch.int16)[: rows * columns].bitwise_and_(~EXPONENT_BITS).bitwise_or_(exponent << 7)
    return bits.view(torch.bfloat16).view(rows, columns)
