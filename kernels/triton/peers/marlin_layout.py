"""NVFP4 weights as vLLM's Marlin kernel lays them out, in plain torch.

vLLM's own code permutes the weights by a compiled op of another library. The layout is a permutation alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from kernels.layer.nvfp4 import BLOCK, Nvfp4, pack, unpack

# A tile of weights has so many columns by rows.
_TILE_COLUMNS, _TILE_ROWS = 16, 64
_LARGEST_SCALE = 448.0
# Scales are kept as 2^7 times their value, with 5 bits of exponent and 3 of mantissa.
_SCALE_SHIFT = 2.0**7
# A code's bits become a bf16 that is 2^-126 times the code.
_CODE_SHIFT = 2.0**126


class Marlin(NamedTuple):
    """Experts' matrices of N rows and K columns."""

    words: Tensor
    """int32 [E, K/16, 2 N], eight codes each"""
    scales: Tensor
    """float8_e4m3fn [E, K/16, N]; the bits have another meaning"""
    factor: Tensor
    """fp32 [E], what a product is multiplied by"""

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows and columns of each expert's matrix, padding included."""
        return self.scales.shape[2], self.scales.shape[1] * BLOCK


def laid_out(weight: Nvfp4, halves: int, rows: int, columns: int) -> Marlin:
    """``weight``, whose matrices are ``halves`` one below the other, each padded with zeros to ``rows`` by ``columns``."""
    scales, shift = _scales(_padded(weight.scales, halves, rows, columns // BLOCK))
    codes = _padded(weight.codes, halves, rows, columns // 2)
    words = torch.stack([_words(unpack(one)) for one in codes])  # one expert at a time, for they are unpacked
    return Marlin(words, scales, (_CODE_SHIFT / _SCALE_SHIFT / shift) / weight.global_scale.float())


def _padded(x: Tensor, halves: int, rows: int, columns: int) -> Tensor:
    parts = x.unflatten(1, (halves, -1))
    return functional.pad(parts, (0, columns - parts.shape[3], 0, rows - parts.shape[2])).flatten(1, 2)


def _words(codes: Tensor) -> Tensor:
    """Codes [N, K] as int32 [K/16, 2 N]: a lane's codes of four products lie together, as the matrix unit wants them."""
    rows, columns = codes.shape
    # A row is 64 tile + 16 product + 8 half + lane, a column 16 tile + 8 half + 2 quad + one of a pair.
    parts = codes.view(rows // _TILE_ROWS, 4, 2, 8, columns // _TILE_COLUMNS, 2, 4, 2)
    tile_row, product, half, lane, tile_column, column_half, quad, pair = range(8)
    order = tile_column, tile_row, lane, quad, product, pair, half, column_half
    return pack(parts.permute(order).reshape(-1, 8)).view(torch.int32).view(columns // _TILE_COLUMNS, 2 * rows)


def _scales(bits: Tensor) -> tuple[Tensor, float]:
    """Scales [E, N, K/16] as [E, K/16, N], and the power of two by which they were enlarged.

    The largest possible power is taken, since a scale below 2^-6 of the largest exponent would become zero.
    """
    values = bits.view(torch.float8_e4m3fn).float()
    largest = float(values.max())
    shift = float(torch.tensor(_LARGEST_SCALE / largest).log2().floor().exp2()) if largest > 0 else 1.0
    experts, rows, groups = values.shape
    # A row is 64 tile + 32 a + 16 b + 8 c + lane; within a tile the order is lane, a, c, b.
    parts = values.mul(shift * _SCALE_SHIFT).view(experts, rows // _TILE_ROWS, 2, 2, 2, 8, groups)
    ordered = parts.permute(0, 6, 1, 5, 2, 4, 3).reshape(experts, groups, rows).half()
    ordered[ordered < 2] = 0
    # Of fp16's 5 bits of exponent and 10 of mantissa, the exponent and 3 bits of mantissa are kept.
    return (ordered.view(torch.int16) >> 7).to(torch.uint8).view(torch.float8_e4m3fn), shift
