"""What the layouts of FlashInfer's NVFP4 weights mean, read place by place: a slow reference that inverts them.

Written from FlashInfer's tables and the layouts' descriptions; shares no code with ``kernels.flashinfer_weights``.
"""

import torch
from torch import Tensor

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
# flashinfer/utils.py, srcToDstBlk32RowMap: where each row of 32 goes.
PLACES = (
    0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27,
    4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31,
)  # fmt: skip


def matrix(codes: Tensor, scales: Tensor) -> Tensor:
    """fp32 [N, K] of codes [N, K/2] and E4M3 scales [N, K/16], as a product without any global scale sees them."""
    out = torch.empty(codes.shape[0], 2 * codes.shape[1])
    out[:, 0::2], out[:, 1::2] = E2M1[(codes & 15).int()], E2M1[(codes >> 4).int()]
    for block in range(scales.shape[1]):
        out[:, 16 * block : 16 * block + 16] *= scales[:, block : block + 1].view(torch.float8_e4m3fn).float()
    return out


def places(rows: int, columns: int) -> Tensor:
    """Where the 128x4 layout keeps each scale of [rows, columns]."""
    m, k = torch.arange(rows)[:, None], torch.arange(columns)
    return m // 128 * -(-columns // 4) * 512 + k // 4 * 512 + m % 32 * 16 + m % 128 // 32 * 4 + k % 4


def unswizzled(scales: Tensor, rows: int, columns: int) -> Tensor:
    """Scales [rows, columns] of any tensor that holds them in the 128x4 layout."""
    return scales.flatten()[places(rows, columns)]


def swizzled(scales: Tensor) -> Tensor:
    """Flat bytes in the 128x4 layout, of scales [N, K/16] whose N is a multiple of 128 and K of 64."""
    flat = torch.empty_like(scales.flatten())
    flat[places(*scales.shape)] = scales
    return flat


def unshuffled(rows: Tensor) -> Tensor:
    """Rows in the order that they had before they were shuffled in blocks of 32."""
    out = torch.empty_like(rows)
    for row in range(rows.shape[0]):
        out[row] = rows[row // 32 * 32 + PLACES[row % 32]]
    return out


def trtllm_matrix(codes: Tensor, scales: Tensor) -> Tensor:
    """One expert's matrix, fp32 [N, K] in the order of its rows before the shuffle."""
    linear = unswizzled(scales, codes.shape[0], codes.shape[1] // 8)
    return matrix(unshuffled(codes), unshuffled(linear))


def cutlass_matrix(codes: Tensor, scales: Tensor) -> Tensor:
    """One expert's matrix, fp32 [N, K]."""
    return matrix(codes, unswizzled(scales, codes.shape[0], codes.shape[1] // 8))
