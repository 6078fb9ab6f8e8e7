"""Random weights on the device of the generator: values that NVFP4 holds exactly for the experts, bf16 for the dense parts."""

import math

import torch
from torch import Tensor

from harness.matrix.case import round_up
from kernels.layer.nvfp4 import BLOCK

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
EXPONENT_BITS = 0x7F80
# Root mean squares before normalising. GRID_RMS: codes with one 6 in 16, times scales from 1 to 1/8. DENSE_RMS: mantissas
# from 1 to 2.
GRID_RMS = math.sqrt((15 * sum(x * x for x in E2M1) / 8 + 36) / 16 * (1 + 1 / 4 + 1 / 16 + 1 / 64) / 4)
DENSE_RMS = math.sqrt(7 / 3)


def on_grid(shape: tuple[int, int, int], generator: torch.Generator, size: float) -> Tensor:
    """Weights that NVFP4 holds exactly: E2M1 codes times powers of two. Each block has a code of the largest size."""
    *rows, columns = shape
    blocks = (*rows, round_up(columns, BLOCK))
    codes = _nibbles(math.prod(blocks), generator).view(-1, BLOCK)
    # A code of 6 in each block: quantising then computes the very scale that the block was drawn with.
    codes[:, 0] |= 7
    table = torch.tensor([*E2M1, *(-x for x in E2M1)], device=generator.device)
    values = table.index_select(0, codes.flatten()).view(-1, BLOCK)
    halvings = _nibbles(len(codes), generator) & 3
    factor = power(GRID_RMS, shape[-1], size)
    whole = values.mul_(two_to_the(-halvings)[:, None] * factor).view(blocks)
    return whole if blocks == shape else whole[..., :columns].contiguous()


def dense(rows: int, columns: int, generator: torch.Generator, size: float) -> Tensor:
    """bf16 [rows, columns] with random signs and mantissas and one exponent, cut out of random bits without a conversion."""
    words = _words(-(-rows * columns // 4), generator)
    exponent = 127 + int(math.log2(power(DENSE_RMS, columns, size)))
    bits = words.view(torch.int16)[: rows * columns].bitwise_and_(~EXPONENT_BITS).bitwise_or_(exponent << 7)
    return bits.view(torch.bfloat16).view(rows, columns)


def power(rms: float, columns: int, size: float = 1.0) -> float:
    """The power of two that scales weights of this rms, so that inputs of rms ``size`` give outputs of rms near one."""
    return 2.0 ** round(math.log2(1 / (rms * math.sqrt(columns) * size)))


def two_to_the(exponent: Tensor) -> Tensor:
    """fp32 powers of two of int32 exponents, built from their bits because a GPU's exp2 is an approximation."""
    return ((exponent + 127) << 23).view(torch.float32)


def _nibbles(count: int, generator: torch.Generator) -> Tensor:
    """Random int32 in 0 to 15, cut out of random words: eight times cheaper than drawing each."""
    words = _words(-(-count // 8), generator)
    return (words.view(torch.uint8)[:count] & 15).int()


def _words(count: int, generator: torch.Generator) -> Tensor:
    """Random int64, on the generator's device."""
    words = torch.empty(count, dtype=torch.int64, device=generator.device)
    return words.random_(-(2**63), None, generator=generator)
