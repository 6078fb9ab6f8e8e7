"""The grouped matrix products of the Triton kernel: NVFP4 weights dequantised in registers, transposed outputs.

Each program computes ``weights [BN, K] @ x.T [K, BM]``: the weight is the left operand, which Hopper's matrix
instruction takes from registers, so a dequantised weight never passes through shared memory.
"""

import triton
import triton.language as tl

from kernels.triton.activate import gate_up, point
from kernels.triton.decode import dequantise


@triton.jit
def _dot(w, x, acc, ASM: tl.constexpr):
    """The matrix product; in fp32 in the interpreter, which multiplies bf16 by their bits."""
    if ASM:
        acc = tl.dot(w, x, acc)
    else:
        acc = tl.dot(w.to(tl.float32), x.to(tl.float32), acc, input_precision="ieee")
    return acc


@triton.jit
def _columns(x, k, K, WHOLE: tl.constexpr, BM: tl.constexpr):
    """x.T [32, BM] from column k: pointers of the rows, and a mask only where the last step is not whole."""
    at = k + tl.arange(0, 32)[:, None]
    if WHOLE:
        tile = tl.load(x + at)
    else:
        tile = tl.load(x + at, mask=(at < K) & (tl.arange(0, BM)[None, :] >= 0), other=0.0)
    return tile


@triton.jit
def _block(
    x_ptr,
    w,
    s,
    decode,
    pairs_ptr,
    out_ptr,
    x_stride,
    out_stride,
    N,
    OUT,
    n,
    first,
    end,
    part,
    K: tl.constexpr,
    TOP_K: tl.constexpr,
    FIRST: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    SPLIT: tl.constexpr,
    STAGES: tl.constexpr,
    SORTED: tl.constexpr,
    ASM: tl.constexpr,
):
    """The rows from ``first`` to ``end``, at most BM of them, by the weight's rows n, from step ``part`` of K on."""
    row = first + tl.arange(0, BM)
    live = row < end
    row = tl.where(live, row, first)  # rows beyond the end repeat the first, and are not written
    pair = tl.load(pairs_ptr + row) if SORTED else row
    source = pair // TOP_K if FIRST else row
    steps: tl.constexpr = (K + 127) // 128
    each: tl.constexpr = (steps + SPLIT - 1) // SPLIT
    whole: tl.constexpr = each * SPLIT * 128 == K
    start = part * each
    x = x_ptr + (source.to(tl.int64) * x_stride)[None, :] + start * 128
    # A part that reaches beyond the last step stays at it, for columns of x that are masked.
    w += tl.minimum(start, steps - 1) * (N * 32)
    s += tl.minimum(start, steps - 1) * (N * 2)
    acc = tl.zeros((BN, BM), tl.float32)
    up = tl.zeros((BN, BM), tl.float32)
    for step in tl.range(0, each, num_stages=STAGES):
        x0 = _columns(x, step * 128, K - start * 128, whole, BM)
        x1 = _columns(x, step * 128 + 32, K - start * 128, whole, BM)
        x2 = _columns(x, step * 128 + 64, K - start * 128, whole, BM)
        x3 = _columns(x, step * 128 + 96, K - start * 128, whole, BM)
        w0, w1, w2, w3 = dequantise(tl.load(w), tl.load(s), BN, ASM)
        acc = _dot(w0, x0, acc, ASM)
        acc = _dot(w1, x1, acc, ASM)
        acc = _dot(w2, x2, acc, ASM)
        acc = _dot(w3, x3, acc, ASM)
        if GATED:
            u0, u1, u2, u3 = dequantise(tl.load(w + OUT * 32), tl.load(s + OUT * 2), BN, ASM)
            up = _dot(u0, x0, up, ASM)
            up = _dot(u1, x1, up, ASM)
            up = _dot(u2, x2, up, ASM)
            up = _dot(u3, x3, up, ASM)
        more = (start + step + 1 < steps).to(tl.int32) if each * SPLIT != steps else 1
        w += more * (N * 32)
        s += more * (N * 2)
    acc *= decode
    up *= decode
    if FIRST and SPLIT == 1:
        acc = gate_up(acc, up, ACTIVATION) if GATED else point(acc, ACTIVATION)
    target = (row if FIRST else pair).to(tl.int64) * SPLIT + part
    out = out_ptr + target[None, :] * out_stride + n[:, None]
    mask = (n < OUT)[:, None] & live[None, :]
    tl.store(out, acc.to(out_ptr.dtype.element_ty), mask=mask)
    if GATED and SPLIT > 1:
        tl.store(out + OUT, up.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def grouped_product(
    x_ptr,
    words_ptr,
    scales_ptr,
    decode_ptr,
    ids_ptr,
    pairs_ptr,
    blocks_ptr,
    count_ptr,
    out_ptr,
    x_stride,
    out_stride,
    N,
    OUT,
    K: tl.constexpr,
    E: tl.constexpr,
    TOP_K: tl.constexpr,
    FIRST: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    SPLIT: tl.constexpr,
    STAGES: tl.constexpr,
    SORTED: tl.constexpr,
    ASM: tl.constexpr,
):
    """One block of one expert's tokens by BN of its rows, and by one of SPLIT parts of its columns.

    The first product reads the rows of ``x`` that its pairs name and writes activated rows in sorted order, OUT columns
    wide; the second reads those and writes one row for each pair. Row n of a gated matrix is a gate, row OUT + n its
    up projection. ``blocks`` holds (expert, first row, end) for each block; unsorted pairs are a block each. Parts are
    written side by side, fp32, gate and up, for ``activate_parts`` and ``combine`` to sum.
    """
    tiles = tl.cdiv(OUT, BN)
    part = tl.program_id(0) % SPLIT
    block = tl.program_id(0) // SPLIT // tiles
    n = (tl.program_id(0) // SPLIT % tiles) * BN + tl.arange(0, BN)
    if SORTED:
        if block >= tl.load(count_ptr):
            return
        expert = tl.load(blocks_ptr + 3 * block).to(tl.int64)
        first = tl.load(blocks_ptr + 3 * block + 1)
        end = tl.load(blocks_ptr + 3 * block + 2)
    else:
        expert = tl.load(ids_ptr + block).to(tl.int64)
        if (expert < 0) | (expert >= E):
            return
        first = block
        end = block + 1
    steps: tl.constexpr = (K + 127) // 128
    safe = tl.where(n < OUT, n, 0)
    w = words_ptr + expert * (steps * N * 32) + safe[:, None] * 32 + tl.arange(0, 32)[None, :]
    s = scales_ptr + expert * (steps * N * 2) + safe[:, None] * 2 + tl.arange(0, 2)[None, :]
    decode = tl.load(decode_ptr + expert)
    half: tl.constexpr = BM // 2
    # An expert's last block is seldom full: half a block's tokens take half its arithmetic.
    if half >= 8 and end - first <= half:
        _block(
            x_ptr, w, s, decode, pairs_ptr, out_ptr, x_stride, out_stride, N, OUT, n, first, end, part,
            K, TOP_K, FIRST, GATED, ACTIVATION, half, BN, SPLIT, STAGES, SORTED, ASM,
        )  # fmt: skip
    else:
        _block(
            x_ptr, w, s, decode, pairs_ptr, out_ptr, x_stride, out_stride, N, OUT, n, first, end, part,
            K, TOP_K, FIRST, GATED, ACTIVATION, BM, BN, SPLIT, STAGES, SORTED, ASM,
        )  # fmt: skip
