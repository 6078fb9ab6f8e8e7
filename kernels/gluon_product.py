"""The grouped products for many tokens an expert, in Gluon for Hopper."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
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
_OUT = gl.constexpr(gl.BlockedLayout([8, 1], [8, 4], [1, 4], [0, 1]))
_TOKENS = gl.constexpr(gl.SliceLayout(0, _OUT.value))
MORE = gl.constexpr(16)
# A fragment of the weight as every consumer carries it from tile to tile.
_LEFT = gl.constexpr(gl.DotOperandLayout(0, gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 16, 16]), 2))


@gluon.jit
def _dequantise(words, scales):
    """int16 [64, 32] and int32 [64, 2] to the left operands of four products, bf16 [64, 32]."""
    s = gl.expand_dims(scales, 2).broadcast_to(64, 2, 16)
    s = gl.convert_layout(gl.reshape(s, [64, 32]), _LEFT, assert_trivial=True)
    return gl.inline_asm_elementwise(
        ASM,
        "=r,=r,=r,=r,r,r,r",
        [words, s],
        dtype=(gl.bfloat16, gl.bfloat16, gl.bfloat16, gl.bfloat16),
        is_pure=True,
        pack=2,
    )


# Stores that never happen, of every register of four fragments. Without them the assembler dequantises after the wait for
# the turn, while the matrix units stand still.
_STORES = "\n".join(
    f"@p st.shared.v4.b32 [z], {{{', '.join(f'${4 + 4 * i + j}' for j in range(4))}}};" for i in range(8)
)
HOLD = gl.constexpr("{\n.reg .pred p;\n.reg .b32 z;\nmov.u32 z, %laneid;\nshl.b32 z, z, 4;\nsetp.eq.s32 p, $36, -1;\n" + _STORES + "\n}")
HOLD_OPERANDS = gl.constexpr(",".join(["=r"] * 4 + ["r"] * 48))


@gluon.jit
def _hold(a0, a1, a2, a3, count):
    """Nothing: but the fragments must be there. ``count`` is never -1."""
    gl.inline_asm_elementwise(HOLD, HOLD_OPERANDS, [a0, a1, a2, a3, count], dtype=gl.int8, is_pure=False, pack=16)


@gluon.jit
def _tile(t, count, tiles, blocks_ptr, GROUP: gl.constexpr):
    """Tile t: its block and its place among the weight's rows. GROUP blocks share a tile of the weight in the cache."""
    group = t // (GROUP * tiles)
    size = gl.minimum(GROUP, count - group * GROUP)
    within = t - group * (GROUP * tiles)
    at = blocks_ptr + 3 * (group * GROUP + within % size)
    return within // size, gl.load(at), gl.load(at + 1), gl.load(at + 2)


@gluon.jit
def _copy_x(x, row, end, K, k, xs, stage, BM: gl.constexpr, WHOLE: gl.constexpr):
    for j in gl.static_range(4):
        to = xs.index(4 * stage + j)
        if BM < to.shape[0]:
            to = to.slice(0, BM, 0)
        at = k + 32 * j
        if WHOLE:
            async_copy.async_copy_global_to_shared(to, x + at)
        else:
            column = gl.arange(0, 32, gl.SliceLayout(0, _ROWS))
            async_copy.async_copy_global_to_shared(to, x + at, (column + at < K)[None, :] & (row < end)[:, None])


@gluon.jit
def _rows(x_ptr, pairs_ptr, x_stride, first, end, TOP_K: gl.constexpr, FIRST: gl.constexpr, BM: gl.constexpr):
    row = first + gl.arange(0, BM, gl.SliceLayout(1, _ROWS))
    row = gl.where(row < end, row, end - 1)
    source = gl.load(pairs_ptr + row) // TOP_K if FIRST else row
    return x_ptr + (source.to(gl.int64) * x_stride)[:, None] + gl.arange(0, 32, gl.SliceLayout(0, _ROWS))[None, :], row


@gluon.jit
def _load_block(
    x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, STAGES: gl.constexpr, LAG: gl.constexpr, EXTRAS: gl.constexpr,
):  # fmt: skip
    """The producer's part of a tile: every step's x, words and scales into shared memory."""
    x, row = _rows(x_ptr, pairs_ptr, x_stride, first, end, TOP_K, FIRST, BM)
    if EXTRA:
        e, e_row = _rows(x_ptr, pairs_ptr, x_stride, first + BM, end, TOP_K, FIRST, MORE)
    column = gl.arange(0, 32, gl.SliceLayout(0, _ROWS))
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
        _copy_x(x, row, end, K, step * 128, xs, stage, BM, K % 128 == 0)
        if EXTRA:
            _copy_x(e, e_row, end, K, step * 128, xe, stage, MORE, K % 128 == 0)
        async_copy.async_copy_global_to_shared(ws.index(2 * stage), w_low + step * (N * 32))
        async_copy.async_copy_global_to_shared(ws.index(2 * stage + 1), w_high + step * (N * 32))
        async_copy.async_copy_global_to_shared(ss.index(2 * stage), p_low + step * (N * 2))
        async_copy.async_copy_global_to_shared(ss.index(2 * stage + 1), p_high + step * (N * 2))
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
    x_ptr, words_ptr, scales_ptr, pairs_ptr, blocks_ptr, count_ptr, x_stride, N, OUT, xs, xe, ws, ss, full, empty,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, BM: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr, LAG: gl.constexpr, EXTRAS: gl.constexpr,
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
        words = words_ptr + expert.to(gl.int64) * (steps * N * 32)
        scales = scales_ptr + expert.to(gl.int64) * (steps * N * 2)
        n = place * BN
        size = end - first
        if size <= HALF:
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, HALF, False, STAGES, LAG, EXTRAS)  # fmt: skip
        elif size <= (HALF + MORE if EXTRAS else 0):
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, HALF, True, STAGES, LAG, EXTRAS)  # fmt: skip
        elif (size > BM) & (size <= (BM + MORE if EXTRAS else 0)):
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, BM, True, STAGES, LAG, EXTRAS)  # fmt: skip
        else:
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, BM, False, STAGES, LAG, EXTRAS)  # fmt: skip
    async_copy.wait_group(0)
    fence_async_shared()
    for i in gl.static_range(LAG):
        mbarrier.arrive(full.index((stage + (STAGES - LAG + i)) % STAGES), pred=filled >= LAG - i)
    # The consumers ask for one step beyond their last, and use nothing of it.
    mbarrier.arrive(full.index(stage))


@gluon.jit
def _right(xs, at, BM: gl.constexpr):
    x = xs.index(at)
    if BM < x.shape[0]:
        x = x.slice(0, BM, 0)
    return x.permute((1, 0))


@gluon.jit
def _fragments(ws, ss, stage, WG: gl.constexpr, PART: gl.constexpr):
    """The words and scales of 64 rows, in a consumer's registers."""
    words = ws.index(2 * stage + PART).slice(64 * WG, 64, 0).load(_LEFT)
    return words, ss.index(2 * stage + PART).slice(64 * WG, 64, 0).load(_SCALES)


@gluon.jit
def _four(a0, a1, a2, a3, xs, stage, acc, BM: gl.constexpr):
    """acc + the four products of a step, which go on when this returns."""
    A: gl.constexpr = gl.DotOperandLayout(0, gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BM, 16]), 2)
    acc = warpgroup_mma(gl.convert_layout(a0, A, assert_trivial=True), _right(xs, 4 * stage, BM), acc, is_async=True)
    acc = warpgroup_mma(gl.convert_layout(a1, A, assert_trivial=True), _right(xs, 4 * stage + 1, BM), acc, is_async=True)
    acc = warpgroup_mma(gl.convert_layout(a2, A, assert_trivial=True), _right(xs, 4 * stage + 2, BM), acc, is_async=True)
    acc = warpgroup_mma(gl.convert_layout(a3, A, assert_trivial=True), _right(xs, 4 * stage + 3, BM), acc, is_async=True)
    return acc


@gluon.jit
def _issue(
    a0, a1, a2, a3, acc, extra, xs, xe, stage, BM: gl.constexpr, EXTRA: gl.constexpr
):
    """Starts a half step's products."""
    acc = _four(a0, a1, a2, a3, xs, stage, acc, BM)
    if EXTRA:
        extra = _four(a0, a1, a2, a3, xe, stage, extra, MORE)
    return acc, extra


@gluon.jit
def _wait(acc, extra, w, v, EXTRA: gl.constexpr, LEFT: gl.constexpr):
    """Waits until all but the last LEFT products are there. w and v are only there after it."""
    if EXTRA:
        acc, extra, w, v = warpgroup_mma_wait(LEFT, deps=[acc, extra, w, v])
    else:
        acc, w, v = warpgroup_mma_wait(LEFT, deps=[acc, w, v])
    return acc, extra, w, v


@gluon.jit
def _targets(pairs_ptr, first, end, FIRST: gl.constexpr, BM: gl.constexpr):
    """The rows of the output that a block's tokens go to."""
    row = first + gl.arange(0, BM, _TOKENS)
    return row if FIRST else gl.load(pairs_ptr + row, mask=row < end, other=0)


@gluon.jit
def _store(y, rows, out_ptr, out_stride, OUT, n, first, end, BM: gl.constexpr):
    """Rows n to n + 64 of y [64, BM] as columns of the output's rows."""
    y = gl.convert_layout(y, _OUT)
    live = first + gl.arange(0, BM, _TOKENS) < end
    column = n + gl.arange(0, 64, gl.SliceLayout(1, _OUT))
    out = out_ptr + (rows.to(gl.int64) * out_stride)[None, :] + column[:, None]
    gl.store(out, y, mask=(column < OUT)[:, None] & live[None, :])


@gluon.jit
def _activated(acc, up, decode, ACTIVATION: gl.constexpr, GATED: gl.constexpr, FIRST: gl.constexpr):
    acc *= decode
    up *= decode
    if GATED:
        acc = gate_up(acc, up, ACTIVATION)
    elif FIRST:
        acc = point(acc, ACTIVATION)
        up = point(up, ACTIVATION)
    return acc.to(gl.bfloat16), up.to(gl.bfloat16)


@gluon.jit
def _halves(y):
    return gl.split(gl.permute(gl.reshape(y, [64, 2, y.shape[1] // 2]), (0, 2, 1)))


@gluon.jit
def _store_all(y, rows_0, rows_1, rows_2, rows_3, out_ptr, out_stride, OUT, n, first, end, BM: gl.constexpr):
    """Pieces of 32 tokens, which take little shared memory on their way to whole rows."""
    if BM == 128:
        y, z = _halves(y)
    y0, y1 = _halves(y)
    _store(y0, rows_0, out_ptr, out_stride, OUT, n, first, end, 32)
    _store(y1, rows_1, out_ptr, out_stride, OUT, n, first + 32, end, 32)
    if BM == 128:
        z0, z1 = _halves(z)
        _store(z0, rows_2, out_ptr, out_stride, OUT, n, first + 64, end, 32)
        _store(z1, rows_3, out_ptr, out_stride, OUT, n, first + 96, end, 32)


@gluon.jit
def _multiply_block(
    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, a0, a1, a2, a3, count,
    WG: gl.constexpr, K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, STAGES: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    L: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BM, 16])
    E: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, MORE, 16])
    steps: gl.constexpr = (K + 127) // 128
    rows_0 = _targets(pairs_ptr, first, end, FIRST, 32)
    rows_1 = _targets(pairs_ptr, first + 32, end, FIRST, 32)
    rows_2 = rows_0
    rows_3 = rows_1
    if BM == 128:
        rows_2 = _targets(pairs_ptr, first + 64, end, FIRST, 32)
        rows_3 = _targets(pairs_ptr, first + 96, end, FIRST, 32)
    if EXTRA:
        rows_e = _targets(pairs_ptr, first + BM, end, FIRST, MORE)
    acc = gl.zeros([64, BM], gl.float32, L)
    up = gl.zeros([64, BM], gl.float32, L)
    acc_e = gl.zeros([64, MORE], gl.float32, E)
    up_e = gl.zeros([64, MORE], gl.float32, E)
    for _ in range(steps):
        acc, acc_e = _issue(a0, a1, a2, a3, acc, acc_e, xs, xe, stage, BM, EXTRA)
        words, scales = _fragments(ws, ss, stage, WG, 1)
        b0, b1, b2, b3 = _dequantise(words, scales)
        up, up_e = _issue(b0, b1, b2, b3, up, up_e, xs, xe, stage, BM, EXTRA)
        before = stage
        stage += 1
        if stage == STAGES:
            stage = 0
            phase ^= 1
        mbarrier.wait(full.index(stage), phase)
        words, scales = _fragments(ws, ss, stage, WG, 0)
        acc, acc_e, words, scales = _wait(acc, acc_e, words, scales, EXTRA, 8 if EXTRA else 4)
        a0, a1, a2, a3 = _dequantise(words, scales)
        if HELD:
            _hold(a0, a1, a2, a3, count)
        up, up_e, a0, a1 = _wait(up, up_e, a0, a1, EXTRA, 0)
        mbarrier.arrive(empty.index(before))
    n += 64 * WG
    y, z = _activated(acc, up, decode, ACTIVATION, GATED, FIRST)
    _store_all(y, rows_0, rows_1, rows_2, rows_3, out_ptr, out_stride, OUT, n, first, end, BM)
    if not GATED:
        _store_all(z, rows_0, rows_1, rows_2, rows_3, out_ptr, out_stride, OUT, n + 128, first, end, BM)
    if EXTRA:
        y, z = _activated(acc_e, up_e, decode, ACTIVATION, GATED, FIRST)
        _store(y, rows_e, out_ptr, out_stride, OUT, n, first + BM, end, MORE)
        if not GATED:
            _store(z, rows_e, out_ptr, out_stride, OUT, n + 128, first + BM, end, MORE)
    return stage, phase, a0, a1, a2, a3


@gluon.jit
def _consume(
    decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty,
    WG: gl.constexpr, K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr, EXTRAS: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    BN: gl.constexpr = 128 if GATED else 256
    HALF: gl.constexpr = BM // 2
    tiles = gl.cdiv(OUT, BN)
    count = gl.load(count_ptr)
    total = count * tiles
    stage = 0
    phase = 0
    start = gl.program_id(0)
    if start < total:
        place, expert, first, end = _tile(start, count, tiles, blocks_ptr, GROUP)
        decode = gl.load(decode_ptr + expert)
        mbarrier.wait(full.index(stage), phase)
        words, scales = _fragments(ws, ss, stage, WG, 0)
        a0, a1, a2, a3 = _dequantise(words, scales)
        for t in range(start, total, gl.num_programs(0)):
            n = place * BN
            # The next tile's place, asked for now that it may take its time.
            soon, expert, next_first, next_end = _tile(gl.minimum(t + gl.num_programs(0), total - 1), count, tiles, blocks_ptr, GROUP)
            size = end - first
            if size <= HALF:
                stage, phase, a0, a1, a2, a3 = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, a0, a1, a2, a3, count, WG, K, FIRST, GATED, ACTIVATION, HALF, False, STAGES, HELD)  # fmt: skip
            elif size <= (HALF + MORE if EXTRAS else 0):
                stage, phase, a0, a1, a2, a3 = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, a0, a1, a2, a3, count, WG, K, FIRST, GATED, ACTIVATION, HALF, True, STAGES, HELD)  # fmt: skip
            elif (size > BM) & (size <= (BM + MORE if EXTRAS else 0)):
                stage, phase, a0, a1, a2, a3 = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, a0, a1, a2, a3, count, WG, K, FIRST, GATED, ACTIVATION, BM, True, STAGES, HELD)  # fmt: skip
            else:
                stage, phase, a0, a1, a2, a3 = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, a0, a1, a2, a3, count, WG, K, FIRST, GATED, ACTIVATION, BM, False, STAGES, HELD)  # fmt: skip
            decode = gl.load(decode_ptr + expert)
            place = soon
            first = next_first
            end = next_end


@gluon.jit
def long_product(
    x_ptr, words_ptr, scales_ptr, decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, x_stride, out_stride, N, OUT,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr,
    REGS: gl.constexpr, LAG: gl.constexpr, EXTRAS: gl.constexpr, HELD: gl.constexpr,
):  # fmt: skip
    xs = gl.allocate_shared_memory(gl.bfloat16, [4 * STAGES, BM, 32], _PANEL)
    xe = gl.allocate_shared_memory(gl.bfloat16, [4 * STAGES if EXTRAS else 4, MORE, 32], _PANEL)
    ws = gl.allocate_shared_memory(gl.int16, [2 * STAGES, 128, 32], _PANEL)
    ss = gl.allocate_shared_memory(gl.int32, [2 * STAGES, 128, 2], _PLAIN)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=2)
    gl.warp_specialize(
        [
            (_produce, (x_ptr, words_ptr, scales_ptr, pairs_ptr, blocks_ptr, count_ptr, x_stride, N, OUT, xs, xe, ws, ss, full, empty,
                        K, TOP_K, FIRST, GATED, BM, STAGES, GROUP, LAG, EXTRAS)),
            (_consume, (decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty,
                        0, K, FIRST, GATED, ACTIVATION, BM, STAGES, GROUP, EXTRAS, HELD)),
            (_consume, (decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty,
                        1, K, FIRST, GATED, ACTIVATION, BM, STAGES, GROUP, EXTRAS, HELD)),
        ],
        [4, 4],
        [REGS, REGS],
    )  # fmt: skip
