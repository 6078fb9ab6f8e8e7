"""The grouped products for many tokens an expert, in Gluon for Hopper."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_init,
    warpgroup_mma_wait,
)

from kernels.triton_activate import gate_up, point
from kernels.triton_decode import _DEQUANTISE

ASM = gl.constexpr(_DEQUANTISE.value)
_SPREAD = gl.constexpr(
    gl.DistributedLinearLayout(
        [[0, 0, 1], [8, 0, 0], [0, 0, 8], [0, 1, 0]],
        [[0, 0, 2], [0, 0, 4], [1, 0, 0], [2, 0, 0], [4, 0, 0]],
        [[16, 0, 0], [32, 0, 0]],
        [],
        [64, 2, 16],
    )
)
_SCALES = gl.constexpr(gl.SliceLayout(2, _SPREAD.value))
_ROWS = gl.constexpr(gl.BlockedLayout([1, 8], [8, 4], [4, 1], [1, 0]))
_PLAIN = gl.constexpr(gl.SwizzledSharedLayout(1, 1, 1, [1, 0]))
_PANEL = gl.constexpr(gl.NVMMASharedLayout(swizzle_byte_width=64, element_bitwidth=16, rank=2))


@gluon.jit
def _dequantise(words, scales, A: gl.constexpr):
    """int16 [64, 32] and int32 [64, 2] to the left operands of four products, bf16 [64, 32]."""
    s = gl.expand_dims(scales, 2).broadcast_to(64, 2, 16)
    s = gl.convert_layout(gl.reshape(s, [64, 32]), A, assert_trivial=True)
    return gl.inline_asm_elementwise(
        ASM,
        "=r,=r,=r,=r,r,r,r",
        [words, s],
        dtype=(gl.bfloat16, gl.bfloat16, gl.bfloat16, gl.bfloat16),
        is_pure=True,
        pack=2,
    )


@gluon.jit
def _tile(t, count, tiles, blocks_ptr, GROUP: gl.constexpr):
    """Tile t: its block and its place among the weight's rows. GROUP blocks share a tile of the weight in the cache."""
    group = t // (GROUP * tiles)
    size = gl.minimum(GROUP, count - group * GROUP)
    within = t - group * (GROUP * tiles)
    block = group * GROUP + within % size
    at = blocks_ptr + 3 * block
    return within // size, gl.load(at).to(gl.int64), gl.load(at + 1), gl.load(at + 2)


@gluon.jit
def _load_block(
    x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, ws, ss, full, empty, stage, phase, filled,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, BM: gl.constexpr, STAGES: gl.constexpr, LAG: gl.constexpr,
):  # fmt: skip
    """The producer's part of a tile: every step's x, words and scales into shared memory."""
    row = first + gl.arange(0, BM, gl.SliceLayout(1, _ROWS))
    row = gl.where(row < end, row, first)
    if FIRST:
        row = gl.load(pairs_ptr + row) // TOP_K
    column = gl.arange(0, 32, gl.SliceLayout(0, _ROWS))
    x = x_ptr + (row.to(gl.int64) * x_stride)[:, None] + column[None, :]
    r = gl.arange(0, 128, gl.SliceLayout(1, _ROWS))
    low = n + r
    high = OUT + low if GATED else low + 128
    w_low = words + (gl.where(low < OUT, low, 0) * 32)[:, None] + column[None, :]
    w_high = words + (gl.where(low < OUT if GATED else high < OUT, high, 0) * 32)[:, None] + column[None, :]
    S: gl.constexpr = gl.BlockedLayout([2, 2], [32, 1], [4, 1], [1, 0])
    q = gl.arange(0, 128, gl.SliceLayout(1, S))
    s_low = n + q
    s_high = OUT + s_low if GATED else s_low + 128
    two = gl.arange(0, 2, gl.SliceLayout(0, S))
    p_low = scales + (gl.where(s_low < OUT, s_low, 0) * 2)[:, None] + two[None, :]
    p_high = scales + (gl.where(s_low < OUT if GATED else s_high < OUT, s_high, 0) * 2)[:, None] + two[None, :]
    steps: gl.constexpr = (K + 127) // 128
    for step in range(steps):
        mbarrier.wait(empty.index(stage), phase)
        for j in gl.static_range(4):
            if BM == 128:
                to = xs.index(4 * stage + j)
            else:
                to = xs.index(4 * stage + j).slice(0, BM, 0)
            at = step * 128 + 32 * j
            if K % 128 == 0:
                async_copy.async_copy_global_to_shared(to, x + at)
            else:
                mask = (column + at < K)[None, :] & (row >= 0)[:, None]
                async_copy.async_copy_global_to_shared(to, x + at, mask)
        async_copy.async_copy_global_to_shared(ws.index(2 * stage), w_low + step * (N * 32))
        async_copy.async_copy_global_to_shared(ws.index(2 * stage + 1), w_high + step * (N * 32))
        async_copy.async_copy_global_to_shared(ss.index(2 * stage), p_low + step * (N * 2))
        async_copy.async_copy_global_to_shared(ss.index(2 * stage + 1), p_high + step * (N * 2))
        if LAG == 0:
            async_copy.mbarrier_arrive(full.index(stage), increment_count=False)
        else:
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
def _produce(
    x_ptr, words_ptr, scales_ptr, pairs_ptr, blocks_ptr, count_ptr, x_stride, N, OUT, xs, ws, ss, full, empty,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, BM: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr, LAG: gl.constexpr,
):  # fmt: skip
    BN: gl.constexpr = 128 if GATED else 256
    HALF: gl.constexpr = BM // 2
    steps: gl.constexpr = (K + 127) // 128
    tiles = gl.cdiv(OUT, BN)
    count = gl.load(count_ptr)
    stage = 0
    phase = 1
    filled = 0
    for t in range(gl.program_id(0), count * tiles, gl.num_programs(0)):
        place, expert, first, end = _tile(t, count, tiles, blocks_ptr, GROUP)
        words = words_ptr + expert * (steps * N * 32)
        scales = scales_ptr + expert * (steps * N * 2)
        if end - first <= HALF:
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, place * BN, first, end, xs, ws, ss, full, empty, stage, phase, filled,
                                       K, TOP_K, FIRST, GATED, HALF, STAGES, LAG)  # fmt: skip
        else:
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, place * BN, first, end, xs, ws, ss, full, empty, stage, phase, filled,
                                       K, TOP_K, FIRST, GATED, BM, STAGES, LAG)  # fmt: skip
    if LAG > 0:
        async_copy.wait_group(0)
        fence_async_shared()
        for i in gl.static_range(LAG):
            mbarrier.arrive(full.index((stage + (STAGES - LAG + i)) % STAGES), pred=filled >= LAG - i)


@gluon.jit
def _issue(a0, a1, a2, a3, xs, stage, acc, BM: gl.constexpr):
    if BM == 128:
        acc = warpgroup_mma(a0, xs.index(4 * stage).permute((1, 0)), acc, is_async=True)
        acc = warpgroup_mma(a1, xs.index(4 * stage + 1).permute((1, 0)), acc, is_async=True)
        acc = warpgroup_mma(a2, xs.index(4 * stage + 2).permute((1, 0)), acc, is_async=True)
        acc = warpgroup_mma(a3, xs.index(4 * stage + 3).permute((1, 0)), acc, is_async=True)
    else:
        acc = warpgroup_mma(a0, xs.index(4 * stage).slice(0, BM, 0).permute((1, 0)), acc, is_async=True)
        acc = warpgroup_mma(a1, xs.index(4 * stage + 1).slice(0, BM, 0).permute((1, 0)), acc, is_async=True)
        acc = warpgroup_mma(a2, xs.index(4 * stage + 2).slice(0, BM, 0).permute((1, 0)), acc, is_async=True)
        acc = warpgroup_mma(a3, xs.index(4 * stage + 3).slice(0, BM, 0).permute((1, 0)), acc, is_async=True)
    return acc


@gluon.jit
def _store(y, out_ptr, pairs_ptr, out_stride, OUT, n, first, end, FIRST: gl.constexpr, BM: gl.constexpr):
    """Rows n to n + 64 of y [64, BM] as columns of the output's rows."""
    if BM > 64:
        left, right = gl.split(gl.permute(gl.reshape(y, [64, 2, BM // 2]), (0, 2, 1)))
        _store(left, out_ptr, pairs_ptr, out_stride, OUT, n, first, end, FIRST, BM // 2)
        _store(right, out_ptr, pairs_ptr, out_stride, OUT, n, first + BM // 2, end, FIRST, BM // 2)
    else:
        O: gl.constexpr = gl.BlockedLayout([8, 1], [8, 4], [1, 4], [0, 1])
        y = gl.convert_layout(y, O)
        row = first + gl.arange(0, BM, gl.SliceLayout(0, O))
        live = row < end
        if not FIRST:
            row = gl.load(pairs_ptr + row, mask=live, other=0)
        column = n + gl.arange(0, 64, gl.SliceLayout(1, O))
        out = out_ptr + (row.to(gl.int64) * out_stride)[None, :] + column[:, None]
        gl.store(out, y, mask=(column < OUT)[:, None] & live[None, :])


@gluon.jit
def _multiply_block(
    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, ws, ss, full, empty, turn, stage, phase, parity,
    WG: gl.constexpr, K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, STAGES: gl.constexpr, PING: gl.constexpr, LAG: gl.constexpr,
):  # fmt: skip
    L: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BM, 16])
    A: gl.constexpr = gl.DotOperandLayout(0, L, 2)
    steps: gl.constexpr = (K + 127) // 128
    acc = gl.zeros([64, BM], gl.float32, L)
    up = gl.zeros([64, BM], gl.float32, L)
    for _ in range(steps):
        mbarrier.wait(full.index(stage), phase)
        if LAG == 0:
            fence_async_shared()
        words = ws.index(2 * stage).slice(64 * WG, 64, 0).load(A)
        scales = ss.index(2 * stage).slice(64 * WG, 64, 0).load(_SCALES)
        more = ws.index(2 * stage + 1).slice(64 * WG, 64, 0).load(A)
        more_scales = ss.index(2 * stage + 1).slice(64 * WG, 64, 0).load(_SCALES)
        a0, a1, a2, a3 = _dequantise(words, scales, A)
        b0, b1, b2, b3 = _dequantise(more, more_scales, A)
        if PING:
            mbarrier.wait(turn.index(WG), parity)
        going = _issue(a0, a1, a2, a3, xs, stage, acc, BM)
        going_up = _issue(b0, b1, b2, b3, xs, stage, up, BM)
        if PING:
            mbarrier.arrive(turn.index(1 - WG))
            parity ^= 1
        acc, up = warpgroup_mma_wait(0, deps=[going, going_up])
        mbarrier.arrive(empty.index(stage))
        stage += 1
        if stage == STAGES:
            stage = 0
            phase ^= 1
    acc *= decode
    up *= decode
    if GATED:
        _store(gate_up(acc, up, ACTIVATION).to(gl.bfloat16), out_ptr, pairs_ptr, out_stride, OUT, n + 64 * WG, first, end, FIRST, BM)
    else:
        if FIRST:
            acc = point(acc, ACTIVATION)
            up = point(up, ACTIVATION)
        _store(acc.to(gl.bfloat16), out_ptr, pairs_ptr, out_stride, OUT, n + 64 * WG, first, end, FIRST, BM)
        _store(up.to(gl.bfloat16), out_ptr, pairs_ptr, out_stride, OUT, n + 128 + 64 * WG, first, end, FIRST, BM)
    return stage, phase, parity


@gluon.jit
def _consume(
    decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, ws, ss, full, empty, turn,
    WG: gl.constexpr, K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr, PING: gl.constexpr, LAG: gl.constexpr,
):  # fmt: skip
    BN: gl.constexpr = 128 if GATED else 256
    HALF: gl.constexpr = BM // 2
    tiles = gl.cdiv(OUT, BN)
    count = gl.load(count_ptr)
    stage = 0
    phase = 0
    parity = 0
    for t in range(gl.program_id(0), count * tiles, gl.num_programs(0)):
        place, expert, first, end = _tile(t, count, tiles, blocks_ptr, GROUP)
        decode = gl.load(decode_ptr + expert)
        if end - first <= HALF:
            stage, phase, parity = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, place * BN, first, end, xs, ws, ss, full, empty, turn, stage, phase, parity,
                                           WG, K, FIRST, GATED, ACTIVATION, HALF, STAGES, PING, LAG)  # fmt: skip
        else:
            stage, phase, parity = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, place * BN, first, end, xs, ws, ss, full, empty, turn, stage, phase, parity,
                                           WG, K, FIRST, GATED, ACTIVATION, BM, STAGES, PING, LAG)  # fmt: skip


@gluon.jit
def long_product(
    x_ptr, words_ptr, scales_ptr, decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, x_stride, out_stride, N, OUT,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr,
    REGS: gl.constexpr, PING: gl.constexpr, LAG: gl.constexpr,
):  # fmt: skip
    xs = gl.allocate_shared_memory(gl.bfloat16, [4 * STAGES, BM, 32], _PANEL)
    ws = gl.allocate_shared_memory(gl.int16, [2 * STAGES, 128, 32], _PANEL)
    ss = gl.allocate_shared_memory(gl.int32, [2 * STAGES, 128, 2], _PLAIN)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    turn = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    mbarrier.init(turn.index(0), count=1)
    mbarrier.init(turn.index(1), count=1)
    mbarrier.arrive(turn.index(0))
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=128 if LAG == 0 else 1)
        mbarrier.init(empty.index(i), count=2)
    gl.warp_specialize(
        [
            (_produce, (x_ptr, words_ptr, scales_ptr, pairs_ptr, blocks_ptr, count_ptr, x_stride, N, OUT, xs, ws, ss, full, empty,
                        K, TOP_K, FIRST, GATED, BM, STAGES, GROUP, LAG)),
            (_consume, (decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, ws, ss, full, empty, turn,
                        0, K, FIRST, GATED, ACTIVATION, BM, STAGES, GROUP, PING, LAG)),
            (_consume, (decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, ws, ss, full, empty, turn,
                        1, K, FIRST, GATED, ACTIVATION, BM, STAGES, GROUP, PING, LAG)),
        ],
        [4, 4],
        [REGS, REGS],
    )  # fmt: skip
