"""One token in two launches. A matrix instruction has eight columns and one token fills one, so the others divide the work.

A program multiplies up to eight groups of weight rows by eight columns of x at once. Group g is to be multiplied by column g
alone: the other sums are discarded, which costs nothing while reading the weights is what takes time. In the first product
a group is a part of the columns, so that programs are many and none has a long loop. In the second product a group is an expert,
or a part of one, so that the sum over the experts stays in one program. Neither leaves parts for a third launch to add.
"""

import triton
import triton.language as tl

from kernels.triton.activate import gate_up, point
from kernels.triton.decode import dequantise
from kernels.triton.gemm import dot

# The columns of the matrix instruction.
COLUMNS = tl.constexpr(8)


@triton.jit
def _x(x, k, limit):
    """Columns k to k + 128 of each group's part of x, as four [32, 8]; zero from the part's limit on."""
    at = k + tl.arange(0, 32)[:, None]
    x0 = tl.load(x + at, mask=at < limit, other=0.0)
    x1 = tl.load(x + at + 32, mask=at + 32 < limit, other=0.0)
    x2 = tl.load(x + at + 64, mask=at + 64 < limit, other=0.0)
    x3 = tl.load(x + at + 96, mask=at + 96 < limit, other=0.0)
    return x0, x1, x2, x3


@triton.jit
def _add(words, scales, rows, live, x0, x1, x2, x3, acc, ROWS: tl.constexpr, ASM: tl.constexpr):
    """128 columns of ``rows`` [ROWS] by those of x, added to acc [ROWS, 8]. Rows that are not live read nothing, and add zero."""
    w = tl.load(words + rows[:, None] * 32 + tl.arange(0, 32)[None, :], mask=live[:, None], other=0)
    s = tl.load(scales + rows[:, None] * 2 + tl.arange(0, 2)[None, :], mask=live[:, None], other=0)
    w0, w1, w2, w3 = dequantise(w, s, ROWS, ASM)
    acc = dot(w0, x0, acc, ASM)
    acc = dot(w1, x1, acc, ASM)
    acc = dot(w2, x2, acc, ASM)
    return dot(w3, x3, acc, ASM)


@triton.jit
def _own(acc, group):
    """Of each row the sum in its own group's column, [ROWS]. What the other columns hold, NaN too, is discarded."""
    return tl.sum(tl.where(group[:, None] == tl.arange(0, COLUMNS)[None, :], acc, 0.0), 1)


@triton.jit
def first_of_one(
    x_ptr,
    words_ptr,
    scales_ptr,
    decode_ptr,
    ids_ptr,
    out_ptr,
    N,
    OUT,
    K: tl.constexpr,
    E: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    STAGES: tl.constexpr,
    ASM: tl.constexpr,
):
    """Activated rows [TOP_K, OUT] of one token: BN of one expert's rows a program, K in PARTS parts.

    The row of an expert that does not exist is not written.
    """
    tiles = tl.cdiv(OUT, BN)
    slot = tl.program_id(0) // tiles
    expert = tl.load(ids_ptr + slot).to(tl.int64)
    if (expert < 0) | (expert >= E):
        return
    steps: tl.constexpr = (K + 127) // 128
    each: tl.constexpr = (steps + PARTS - 1) // PARTS
    rows: tl.constexpr = PARTS * BN
    group = tl.arange(0, rows) // BN
    row = tl.program_id(0) % tiles * BN + tl.arange(0, rows) % BN
    column = tl.arange(0, COLUMNS)[None, :]
    x = x_ptr + column * (each * 128)
    limit = tl.where(column < PARTS, K - column * (each * 128), 0)
    words = words_ptr + expert * (steps * N * 32)
    scales = scales_ptr + expert * (steps * N * 2)
    acc = tl.zeros((rows, COLUMNS), tl.float32)
    up = tl.zeros((rows, COLUMNS), tl.float32)
    for step in tl.range(0, each, num_stages=STAGES):
        x0, x1, x2, x3 = _x(x, step * 128, limit)
        # A part that would run past the matrix stays at its last step, by columns of x that are zero.
        at = tl.minimum(group * each + step, steps - 1) * N + row
        acc = _add(words, scales, at, row < OUT, x0, x1, x2, x3, acc, rows, ASM)
        if GATED:
            up = _add(words, scales, at + OUT, row < OUT, x0, x1, x2, x3, up, rows, ASM)
    decode = tl.load(decode_ptr + expert)
    y = tl.sum(tl.reshape(_own(acc, group), (PARTS, BN)), 0) * decode
    z = tl.sum(tl.reshape(_own(up, group), (PARTS, BN)), 0) * decode
    y = gate_up(y, z, ACTIVATION) if GATED else point(y, ACTIVATION)
    n = tl.program_id(0) % tiles * BN + tl.arange(0, BN)
    tl.store(out_ptr + slot * OUT + n, y.to(out_ptr.dtype.element_ty), mask=n < OUT)


@triton.jit
def second_of_one(
    x_ptr,
    words_ptr,
    scales_ptr,
    decode_ptr,
    ids_ptr,
    weights_ptr,
    shared_ptr,
    out_ptr,
    N,
    OUT,
    K: tl.constexpr,
    E: tl.constexpr,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    BN: tl.constexpr,
    PARTS: tl.constexpr,
    STAGES: tl.constexpr,
    ASM: tl.constexpr,
):
    """out[n] = shared[n] + the sum of weight times row n of each of SLOTS experts by that expert's row of x.

    A group is one of PARTS parts of an expert's K columns. An expert that does not exist reads nothing, since its row of x was
    not written. Columns from N to OUT become zero.
    """
    steps: tl.constexpr = (K + 127) // 128
    each: tl.constexpr = (steps + PARTS - 1) // PARTS
    groups: tl.constexpr = SLOTS * PARTS
    rows: tl.constexpr = groups * BN
    group = tl.arange(0, rows) // BN
    row = tl.program_id(0) * BN + tl.arange(0, rows) % BN
    expert = tl.load(ids_ptr + group // PARTS).to(tl.int64)
    live = (expert >= 0) & (expert < E) & (row < N)
    expert = tl.where(live, expert, 0)
    column = tl.arange(0, COLUMNS)[None, :]
    x = x_ptr + column // PARTS * K + column % PARTS * (each * 128)
    limit = tl.where(column < groups, K - column % PARTS * (each * 128), 0)
    first = expert * (steps * N) + row
    acc = tl.zeros((rows, COLUMNS), tl.float32)
    for step in tl.range(0, each, num_stages=STAGES):
        x0, x1, x2, x3 = _x(x, step * 128, limit)
        at = first + tl.minimum(group % PARTS * each + step, steps - 1) * N
        acc = _add(words_ptr, scales_ptr, at, live, x0, x1, x2, x3, acc, rows, ASM)
    weight = tl.load(weights_ptr + group // PARTS) * tl.load(decode_ptr + expert)
    y = tl.sum(tl.reshape(tl.where(live, _own(acc, group) * weight, 0.0), (groups, BN)), 0)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    if SHARED:
        y += tl.load(shared_ptr + n, mask=n < OUT, other=0.0).to(tl.float32)
    tl.store(out_ptr + n, y.to(out_ptr.dtype.element_ty), mask=n < OUT)
