"""The weight layout of the Triton kernel: NVFP4 codes and scales in the order in which its registers need them.

Columns go in steps of 128. A 16-bit word holds the codes of columns c, 32 + c, 64 + c and 96 + c of its step, so that
one word gives an element to each of four matrix products and no value has to move between threads. Within the word, one
shift and one mask bring the bits of the first three codes to a bf16's sign, exponent and mantissa; the fourth code has the
bits that are left over, and takes three. A step's scales are two 32-bit words a row: byte j of word h is the scale of block
2j + h, which product j uses for its columns from 16h on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kernels.layer.nvfp4 import BLOCK, Nvfp4, unpack

STEP = 128
WORDS = STEP // 4
SCALE_WORDS = STEP // BLOCK // 4
# For each code of a word: the positions of its sign and of its three value bits, the highest first.
PLACES = ((15, (8, 7, 6)), (12, (5, 4, 3)), (9, (2, 1, 0)), (14, (11, 10, 13)))


@dataclass(frozen=True, slots=True)
class Packed:
    """Matrices [E, N, K], K rounded up to whole steps."""

    words: Tensor
    """int16 [E, K/128, N, 32]"""
    scales: Tensor
    """int32 [E, K/128, N, 2], four scales each"""
    decode: Tensor
    """fp32 [E]: the factor of a product of decoded codes and scales"""


def pack_matrices(weight: Nvfp4) -> Packed:
    """NVFP4 matrices in the kernel's layout."""
    # 2^7 is the part of the scale that the decoded bf16 cannot hold; see kernels.triton.decode.
    decode = (2.0**7 / weight.global_scale.float()).contiguous()
    return Packed(pack_words(weight), pack_scales(weight.scales), decode)


def pack_words(weight: Nvfp4) -> Tensor:
    """Codes [E, N, K/2] to int16 [E, K/128, N, 32]. Codes under a zero scale become zero: ``to_e5m3`` has no zero scale."""
    experts, rows, columns = weight.codes.shape[0], weight.codes.shape[1], 2 * weight.codes.shape[2]
    out = weight.codes.new_empty(experts, -(-columns // STEP), rows, WORDS, dtype=torch.int16)
    for expert in range(experts):  # one at a time: codes in int32 take eight times the memory of the packed ones
        live = (weight.scales[expert] != 0).repeat_interleave(BLOCK, -1)
        codes = functional.pad(unpack(weight.codes[expert]) * live, (0, -columns % STEP))
        steps = codes.view(rows, -1, 4, WORDS).int()
        out[expert] = sum(place(steps[:, :, j], j) for j in range(4)).to(torch.int16).transpose(0, 1)  # type: ignore[union-attr]
    return out


def place(codes: Tensor, product: int) -> Tensor:
    """int32 codes, their four bits moved to where the kernel expects those of this product."""
    sign, values = PLACES[product]
    out = ((codes >> 3) & 1) << sign
    for bit, where in zip((2, 1, 0), values, strict=True):
        out = out | (((codes >> bit) & 1) << where)
    # Bit 15 is the sign of an int16, so such values become negative ones.
    return torch.where(out >= 2**15, out - 2**16, out)


def pack_scales(scales: Tensor) -> Tensor:
    """E4M3 bits [E, N, K/16] to int32 [E, K/128, N, 2] of four scales in ``to_e5m3``."""
    padded = functional.pad(to_e5m3(scales), (0, -scales.shape[-1] % (STEP // BLOCK)))
    experts, rows = padded.shape[:2]
    # [E, N, step, j, h] to [E, step, N, h, j]: on a little-endian machine these are the bytes of the words, in order.
    bytes_ = padded.view(experts, rows, -1, 4, SCALE_WORDS).permute(0, 2, 1, 4, 3).contiguous()
    return bytes_.view(torch.int32).squeeze(-1)


def to_e5m3(scales: Tensor) -> Tensor:
    """E4M3 bits of scales, which have no sign, as five bits of exponent (1 for 2^-9) and three of mantissa.

    E4M3 has subnormals, which a kernel would have to treat apart. Without them a shift and an addition turn a scale into a
    bf16. Zero becomes 2^-10, which is harmless because the codes under it are zero.
    """
    mantissa, exponent = torch.frexp(scales.view(torch.float8_e4m3fn).float().abs())
    byte = (exponent + 9) * 8 + (mantissa * 16 - 8).round().int()
    return torch.where(mantissa > 0, byte, 0).to(torch.uint8)


def unpack_matrices(packed: Packed, columns: int) -> Tensor:
    """fp32 [E, N, columns]: the values of a packed matrix, computed the slow way, for tests."""
    words, products = packed.words.int() & 0xFFFF, []
    for j, (sign, values) in enumerate(PLACES):
        exponent, mantissa = (words >> values[0] & 1) * 2 + (words >> values[1] & 1), words >> values[2] & 1
        size = torch.where(exponent > 0, torch.exp2(exponent - 1.0) * (1 + mantissa / 2), mantissa / 2)
        byte = (packed.scales >> (8 * j) & 0xFF).repeat_interleave(WORDS // SCALE_WORDS, -1)
        scale = torch.exp2((byte >> 3) - 10.0) * (1 + (byte & 7) / 8)
        products.append(torch.where(words >> sign & 1 > 0, -size, size) * scale)
    steps = torch.stack(products, -2).flatten(-2).transpose(1, 2).flatten(-2)
    return (steps * (packed.decode / 2.0**7)[:, None, None])[..., :columns]
