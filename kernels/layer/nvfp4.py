"""NVFP4 in plain torch: quantise, dequantise, and the 128x4 layout of scales.

A value is ``code * block_scale / global_scale``. Codes are E2M1, two per byte with the even column in the low nibble;
each block of 16 columns has an E4M3 scale; each matrix has one fp32 global scale, ``448 * 6 / amax``. Scales are kept
as uint8 views of their bits, since torch's schema tools reject float8 on a CPU. No function here synchronises with the
device, so all of them can run under a CUDA graph capture.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 16
CODES_MAX = 6.0
SCALE_MAX = 448.0
SIGN = 8


class Nvfp4(NamedTuple):
    """Matrices in NVFP4; leading dimensions are experts."""

    codes: Tensor
    """uint8 [..., N, K/2]"""
    scales: Tensor
    """uint8 [..., N, K/16], E4M3 bits"""
    global_scale: Tensor
    """fp32 [...], one per matrix"""

    def to(self, device: torch.device) -> "Nvfp4":
        """The same on a device."""
        return Nvfp4(*(part.to(device) for part in self))


def quantise(weight: Tensor) -> Nvfp4:
    """``weight`` [..., N, K], finite, rounded to NVFP4, ties to even. Raises ValueError if K is no multiple of 16."""
    if weight.shape[-1] % BLOCK:
        raise ValueError(f"cannot quantise {weight.shape[-1]} columns: NVFP4 scales blocks of {BLOCK}")
    blocks = weight.float().reshape(*weight.shape[:-1], -1, BLOCK)
    block_amax = blocks.abs().amax(-1)
    amax = block_amax.amax((-2, -1))
    global_scale = torch.where(amax > 0, SCALE_MAX * CODES_MAX / amax, 1.0)
    return _encoded(blocks, block_amax, global_scale)


def quantise_rows(rows: Tensor, global_scale: float) -> Nvfp4:
    """Activations ``rows`` [T, K] by a global scale that was calibrated beforehand, as for a kernel's input; ties to even."""
    blocks = rows.float().reshape(rows.shape[0], -1, BLOCK)
    return _encoded(blocks, blocks.abs().amax(-1), blocks.new_full((), global_scale))


def _encoded(blocks: Tensor, block_amax: Tensor, global_scale: Tensor) -> Nvfp4:
    wanted = global_scale[..., None, None] * block_amax / CODES_MAX
    scales = wanted.clamp(max=SCALE_MAX).to(torch.float8_e4m3fn)
    decode = scales.float() / global_scale[..., None, None]
    # A block of zeros has scale zero. Dividing by infinity gives it zero codes; dividing by zero would give NaN.
    decode = torch.where(decode > 0, decode, torch.inf)
    codes = round_e2m1(blocks / decode[..., None]).flatten(-2)
    return Nvfp4(pack(codes), scales.view(torch.uint8), global_scale)


def round_e2m1(values: Tensor) -> Tensor:
    """E2M1 codes (uint8, 0 to 15, bit 3 the sign) nearest to fp32 values, ties to even, saturating at 6."""
    size = values.abs().clamp_(max=CODES_MAX)
    # Codes are 0.5 apart below 2, 1 apart below 4 and 2 apart above. Three lines count the codes at each spacing, and the
    # lowest line is the correct one. torch rounds ties to even, which here are even codes.
    steps = torch.minimum((size * 2).round_(), size.round().add_(2))
    codes = torch.minimum(steps, (size / 2).round_().add_(4)).to(torch.uint8)
    return codes.add_((values < 0).to(torch.uint8).mul_(SIGN))


def pack(codes: Tensor) -> Tensor:
    """uint8 codes [..., K] to bytes [..., K/2], the even column in the low nibble."""
    return codes[..., 0::2] | (codes[..., 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """Bytes [..., K/2] to uint8 codes [..., K]."""
    return torch.stack((packed & 15, packed >> 4), -1).flatten(-2)


def e2m1_values(device: torch.device) -> Tensor:
    """fp32 [16]: the value of each code. Computed on the device: a CUDA graph capture allows no copy from the host."""
    code = torch.arange(16, dtype=torch.int32, device=device)
    exponent, mantissa = (code >> 1) & 3, (code & 1).float()
    size = torch.where(exponent > 0, torch.exp2(exponent - 1.0) * (1 + mantissa / 2), mantissa / 2)
    return torch.where(code >= SIGN, -size, size)


def byte_table(device: torch.device) -> Tensor:
    """int64 [256]: for each byte its two fp32 values as one 64-bit word, so that one lookup moves both."""
    values = e2m1_values(device)
    return torch.stack((values.repeat(16), values.repeat_interleave(16)), -1).view(torch.int64).flatten()


def dequantise(weight: Nvfp4, table: Tensor | None = None) -> Tensor:
    """fp32 [..., N, K] of linear-layout NVFP4. ``table`` is ``byte_table``, for callers that dequantise often."""
    pairs = byte_table(weight.codes.device) if table is None else table
    looked_up = pairs.index_select(0, weight.codes.flatten().int()).view(torch.float32)
    blocks = looked_up.view(*weight.scales.shape, BLOCK)
    decode = weight.scales.view(torch.float8_e4m3fn).float() / weight.global_scale[..., None, None]
    return blocks.mul_(decode[..., None]).flatten(-2)


def swizzle_128x4(scales: Tensor) -> Tensor:
    """Scales [..., M, K] in the 128x4 layout of Blackwell's tensor cores, zero-padded to [..., 128 * m, 4 * k].

    The byte of row m and column k, in a matrix of K columns, moves to offset
    ``(m//128)*ceil(K/4)*512 + (k//4)*512 + (m%32)*16 + ((m%128)//32)*4 + k%4`` of its matrix.
    """
    padded = functional.pad(scales, (0, -scales.shape[-1] % 4, 0, -scales.shape[-2] % 128))
    lead, (rows, columns) = padded.shape[:-2], padded.shape[-2:]
    tiles = padded.reshape(*lead, rows // 128, 4, 32, columns // 4, 4)
    return tiles.movedim(-2, -4).transpose(-3, -2).reshape(*lead, rows, columns)


def unswizzle_128x4(swizzled: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of ``swizzle_128x4``: scales [..., rows, columns], contiguous."""
    lead, (all_rows, all_columns) = swizzled.shape[:-2], swizzled.shape[-2:]
    tiles = swizzled.reshape(*lead, all_rows // 128, all_columns // 4, 32, 4, 4)
    linear = tiles.transpose(-3, -2).movedim(-4, -2).reshape(*lead, all_rows, all_columns)
    return linear[..., :rows, :columns].contiguous()
