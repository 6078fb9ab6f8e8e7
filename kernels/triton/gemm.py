"""The grouped matrix products of the Triton kernel: NVFP4 weights dequantised in registers, transposed outputs.

Each program computes ``weights [BN, K] @ x.T [K, BM]``. The weight is the left operand because Hopper's matrix
instruction can read that one from registers: a dequantised weight never passes through shared memory.
"""

import triton
import triton.language as tl

from kernels.triton.activate import gate_up, point
from kernels.triton.decode import dequantise


@triton.jit
def dot(w, x, acc, ASM: tl.constexpr):
    """The product w @ x added to acc. In the interpreter in fp32: it would multiply the bit patterns of bf16 as integers."""
    if ASM:
        acc = tl.dot(w, x, acc)
    else:
        acc = tl.dot(w.to(tl.float32), x.to(tl.float32), acc, input_precision="ieee")
    return acc


@triton.jit
def _columns(x, k, K, WHOLE: tl.constexpr, BM: tl.constexpr):
    """x.T [32, BM] from column k on. ``x`` points to the rows; loads are masked only where the last step is not whole."""
    at = k + tl.arange(0, 32)[:, None]
    if WHOLE:
        tile = tl.load(x + at)
    else:
        # The second condition is always true. It gives the mask the shape of the tile.
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
    """Rows ``first`` to ``end`` of x, at most BM of them, by rows n of the weight, over part ``part`` of SPLIT of the columns."""
    row = first + tl.arange(0, BM)
    live = row < end
    # Rows beyond the end read the first row, so that no load needs a mask for them. They are not stored.
    row = tl.where(live, row, first)
    pair = tl.load(pairs_ptr + row) if SORTED else row
    source = pair // TOP_K if FIRST else row
    steps: tl.constexpr = (K + 127) // 128
    each: tl.constexpr = (steps + SPLIT - 1) // SPLIT
    whole: tl.constexpr = each * SPLIT * 128 == K
    start = part * each
    x = x_ptr + (source.to(tl.int64) * x_stride)[None, :] + start * 128
    # SPLIT may not divide the steps. A part that would run past the last one stays at it: the weight is read once more
    # and multiplied by masked columns of x, which are zero. That costs less than a loop of unequal length.
    w += tl.minimum(start, steps - 1) * (N * 32)
    s += tl.minimum(start, steps - 1) * (N * 2)
    acc = tl.zeros((BN, BM), tl.float32)
    up = tl.zeros((BN, BM), tl.float32)
    # Triton pipelines this loop: it issues loads STAGES - 1 steps ahead, and waits for a step's tiles before their first use.
    # A gated matrix is two weights by the same x, so one program computes both and loads x once.
    for step in tl.range(0, each, num_stages=STAGES):
        x0 = _columns(x, step * 128, K - start * 128, whole, BM)
        x1 = _columns(x, step * 128 + 32, K - start * 128, whole, BM)
        x2 = _columns(x, step * 128 + 64, K - start * 128, whole, BM)
        x3 = _columns(x, step * 128 + 96, K - start * 128, whole, BM)
        w0, w1, w2, w3 = dequantise(tl.load(w), tl.load(s), BN, ASM)
        acc = dot(w0, x0, acc, ASM)
        acc = dot(w1, x1, acc, ASM)
        acc = dot(w2, x2, acc, ASM)
        acc = dot(w3, x3, acc, ASM)
        if GATED:
            u0, u1, u2, u3 = dequantise(tl.load(w + OUT * 32), tl.load(s + OUT * 2), BN, ASM)
            up = dot(u0, x0, up, ASM)
            up = dot(u1, x1, up, ASM)
            up = dot(u2, x2, up, ASM)
            up = dot(u3, x3, up, ASM)
        more = (start + step + 1 < steps).to(tl.int32) if each * SPLIT != steps else 1
        w += more * (N * 32)
        s += more * (N * 2)
    # One factor for a whole matrix: it is applied to the sums, once, and not to each decoded weight.
    acc *= decode
    up *= decode
    # An activation is not linear. Where columns are split, ``activate_parts`` applies it to the sum of the parts.
    if FIRST and SPLIT == 1:
        acc = gate_up(acc, up, ACTIVATION) if GATED else point(acc, ACTIVATION)
    # 64 bits: pairs times width may exceed 2^31.
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
    wide. The second product reads those and writes one row for each pair. Row n of a gated matrix is a gate, and row
    OUT + n its up projection. ``blocks`` holds (expert, first row, end) for each block; an unsorted pair is a block of
    its own. Parts are written side by side in fp32, gate and up; ``activate_parts`` and ``combine`` sum them.
    """
    tiles = tl.cdiv(OUT, BN)
    part = tl.program_id(0) % SPLIT
    block = tl.program_id(0) // SPLIT // tiles
    n = (tl.program_id(0) // SPLIT % tiles) * BN + tl.arange(0, BN)
    if SORTED:
        # The grid is sized for the worst routing, because its size may not depend on data. Programs without a block exit.
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
    safe = tl.where(n < OUT, n, 0)  # rows beyond the matrix read row 0, unmasked, and are not stored
    w = words_ptr + expert * (steps * N * 32) + safe[:, None] * 32 + tl.arange(0, 32)[None, :]
    s = scales_ptr + expert * (steps * N * 2) + safe[:, None] * 2 + tl.arange(0, 2)[None, :]
    decode = tl.load(decode_ptr + expert)
    half: tl.constexpr = BM // 2
    # An expert's last block is seldom full. Half of the tokens or fewer take half of the arithmetic. Eight is the smallest
    # number of columns that the matrix instruction has.
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
