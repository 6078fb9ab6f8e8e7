"""Packed FP4 weights, which are exact in bfloat16: two codes a byte, the first in the low bits, and a scale for each block of 16."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

BLOCK = 16
_VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_TABLE = torch.cat((_VALUES, -_VALUES))
_SCALES = (-6, -3)  # powers of two, each exact as float8_e4m3fn


@dataclass(frozen=True, slots=True)
class Packed:
    """A weight [..., K] as codes [..., K / 2] uint8 and scales [..., K / 16] float8_e4m3fn."""

    codes: Tensor
    scales: Tensor

    @classmethod
    def random(cls, generator: torch.Generator, *shape: int) -> Self:
        """Codes and scales of their own."""
        codes = torch.randint(0, len(_TABLE), shape, generator=generator, dtype=torch.uint8)
        powers = torch.randint(*_SCALES, (*shape[:-1], shape[-1] // BLOCK), generator=generator)
        return cls(codes[..., ::2] | codes[..., 1::2] << 4, torch.exp2(powers.float()).to(torch.float8_e4m3fn))

    def unpacked(self) -> Tensor:
        """The weight, [..., K] bf16."""
        codes = torch.stack((self.codes & 15, self.codes >> 4), -1).flatten(-2)
        return (_TABLE[codes.int()] * self.scales.float().repeat_interleave(BLOCK, -1)).bfloat16()
