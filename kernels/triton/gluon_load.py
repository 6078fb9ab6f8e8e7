"""The producer of the kernel for many tokens an expert: four warps that copy x, words and scales to shared memory."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier

from kernels.triton.gluon_tile import PAIRS, ROWS, tile_at, weight_rows

# Its name from Triton 3.9 on, which removed the other.
async_load = getattr(async_copy, "async_load", None) or async_copy.async_copy_global_to_shared


@gluon.jit
def _copy_x(x, row, end, K, k, xs, stage, BM: gl.constexpr, WHOLE: gl.constexpr):
    for j in gl.static_range(4):
        to = xs.index(4 * stage + j)
        if BM < to.shape[0]:
            to = to.slice(0, BM, 0)
        at = k + 32 * j
        if WHOLE:
            async_load(to, x + at)
        else:
            column = gl.arange(0, 32, gl.SliceLayout(0, ROWS))
            async_load(to, x + at, (column + at < K)[None, :] & (row < end)[:, None])


@gluon.jit
def _rows(x_ptr, pairs_ptr, x_stride, first, end, TOP_K: gl.constexpr, FIRST: gl.constexpr, BM: gl.constexpr):
    row = first + gl.arange(0, BM, gl.SliceLayout(1, ROWS))
    row = gl.where(row < end, row, end - 1)
    source = gl.load(pairs_ptr + row) // TOP_K if FIRST else row
    return x_ptr + (source.to(gl.int64) * x_stride)[:, None] + gl.arange(0, 32, gl.SliceLayout(0, ROWS))[None, :], row


@gluon.jit
def load_block(
    x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, BM: gl.constexpr,
    EXTRA: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr, LAG: gl.constexpr,
):  # fmt: skip
    """The producer's part of a tile: every step's x, words and scales into shared memory."""
    x, row = _rows(x_ptr, pairs_ptr, x_stride, first, end, TOP_K, FIRST, BM)
    if EXTRA:
        e, e_row = _rows(x_ptr, pairs_ptr, x_stride, first + BM, end, TOP_K, FIRST, EXTRA)
    column = gl.arange(0, 32, gl.SliceLayout(0, ROWS))
    two = gl.arange(0, 2, gl.SliceLayout(0, PAIRS))
    w_0 = words + (weight_rows(n, OUT, ROWS, 0, GATED, PARTS) * 32)[:, None] + column[None, :]
    s_0 = scales + (weight_rows(n, OUT, PAIRS, 0, GATED, PARTS) * 2)[:, None] + two[None, :]
    if PARTS == 2:
        w_1 = words + (weight_rows(n, OUT, ROWS, 1, GATED, PARTS) * 32)[:, None] + column[None, :]
        s_1 = scales + (weight_rows(n, OUT, PAIRS, 1, GATED, PARTS) * 2)[:, None] + two[None, :]
    steps: gl.constexpr = (K + 127) // 128
    for step in range(steps):
        mbarrier.wait(empty.index(stage), phase)
        _copy_x(x, row, end, K, step * 128, xs, stage, BM, K % 128 == 0)
        if EXTRA:
            _copy_x(e, e_row, end, K, step * 128, xe, stage, EXTRA, K % 128 == 0)
        async_load(ws.index(PARTS * stage), w_0 + step * (N * 32))
        async_load(ss.index(PARTS * stage), s_0 + step * (N * 2))
        if PARTS == 2:
            async_load(ws.index(2 * stage + 1), w_1 + step * (N * 32))
            async_load(ss.index(2 * stage + 1), s_1 + step * (N * 2))
        async_copy.commit_group()
        async_copy.wait_group(LAG)
        fence_async_shared()
        mbarrier.arrive(full.index((stage + (STAGES - LAG)) % STAGES), pred=filled >= LAG)
        filled += 1
        stage += 1
        if stage == STAGES:
            stage = 0
            phase ^= 1
    return stage, phase, filled


@gluon.jit
def produce(
    x_ptr, words_ptr, scales_ptr, pairs_ptr, blocks_ptr, count_ptr, x_stride, N, OUT, xs, xe, ws, ss, full, empty,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, BM: gl.constexpr,
    PARTS: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr, LAG: gl.constexpr, MORE: gl.constexpr,
):  # fmt: skip
    BN: gl.constexpr = (64 if GATED else 128) * PARTS
    HALF: gl.constexpr = BM // 2
    LEAST: gl.constexpr = BM // 4
    steps: gl.constexpr = (K + 127) // 128
    tiles = gl.cdiv(OUT, BN)
    count = gl.load(count_ptr)
    stage = 0
    phase = 1
    filled = 0
    for t in range(gl.program_id(0), count * tiles, gl.num_programs(0)):
        place, expert, first, end = tile_at(t, count, tiles, blocks_ptr, GROUP)
        words = words_ptr + expert.to(gl.int64) * (steps * N * 32)
        scales = scales_ptr + expert.to(gl.int64) * (steps * N * 2)
        n = place * BN
        size = end - first
        if size <= LEAST:
            stage, phase, filled = load_block(
                x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full,
                empty, stage, phase, filled,
                K, TOP_K, FIRST, GATED, BM // 4, 0, PARTS, STAGES, LAG,
            )  # fmt: skip
        elif size <= HALF:
            stage, phase, filled = load_block(
                x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full,
                empty, stage, phase, filled,
                K, TOP_K, FIRST, GATED, HALF, 0, PARTS, STAGES, LAG,
            )  # fmt: skip
        elif size <= (HALF + MORE if MORE else 0):
            stage, phase, filled = load_block(
                x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full,
                empty, stage, phase, filled,
                K, TOP_K, FIRST, GATED, HALF, MORE, PARTS, STAGES, LAG,
            )  # fmt: skip
        elif (size > BM) & (size <= (BM + MORE if MORE else 0)):
            stage, phase, filled = load_block(
                x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full,
                empty, stage, phase, filled,
                K, TOP_K, FIRST, GATED, BM, MORE, PARTS, STAGES, LAG,
            )  # fmt: skip
        else:
            stage, phase, filled = load_block(
                x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full,
                empty, stage, phase, filled,
                K, TOP_K, FIRST, GATED, BM, 0, PARTS, STAGES, LAG,
            )  # fmt: skip
    async_copy.wait_group(0)
    fence_async_shared()
    for i in gl.static_range(LAG):
        mbarrier.arrive(full.index((stage + (STAGES - LAG + i)) % STAGES), pred=filled >= LAG - i)
