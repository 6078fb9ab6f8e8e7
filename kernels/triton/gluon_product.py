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

from kernels.triton.activate import gate_up, point
from kernels.triton.decode import _DEQUANTISE

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
_LEFT = gl.constexpr(gl.DotOperandLayout(0, gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 16, 16]), 2))
_ROWS = gl.constexpr(gl.BlockedLayout([1, 8], [8, 4], [4, 1], [1, 0]))
_PAIRS = gl.constexpr(gl.BlockedLayout([1, 2], [32, 1], [4, 1], [1, 0]))
_PLAIN = gl.constexpr(gl.SwizzledSharedLayout(1, 1, 1, [1, 0]))
_PANEL = gl.constexpr(gl.NVMMASharedLayout(swizzle_byte_width=64, element_bitwidth=16, rank=2))


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


@gluon.jit
def _tile(t, count, tiles, blocks_ptr, GROUP: gl.constexpr):
    """Tile t: its place among the weight's rows, and its block. GROUP blocks share a tile of the weight in the cache."""
    group = t // (GROUP * tiles)
    size = gl.minimum(GROUP, count - group * GROUP)
    within = t - group * (GROUP * tiles)
    at = blocks_ptr + 3 * (group * GROUP + within % size)
    return within // size, gl.load(at), gl.load(at + 1), gl.load(at + 2)


@gluon.jit
def _weight_rows(n, OUT, LAYOUT: gl.constexpr, PART: gl.constexpr, GATED: gl.constexpr, PARTS: gl.constexpr):
    """Which row of the weight each of a part's 128 rows is; rows that there are not repeat the first."""
    r = gl.arange(0, 128, gl.SliceLayout(1, LAYOUT))
    if PARTS == 2:
        row = n + r
        if GATED:
            return gl.where(row < OUT, row, 0) + PART * OUT
        row += 128 * PART
        return gl.where(row < OUT, row, 0)
    if GATED:
        # Rows of gate and up alternate by eights, so that a thread of the product has both.
        row = n + r // 64 * 32 + r % 64 // 16 * 8 + r % 8
        return gl.where(row < OUT, row, 0) + r // 8 % 2 * OUT
    return gl.where(n + r < OUT, n + r, 0)


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
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr, LAG: gl.constexpr,
):  # fmt: skip
    """The producer's part of a tile: every step's x, words and scales into shared memory."""
    x, row = _rows(x_ptr, pairs_ptr, x_stride, first, end, TOP_K, FIRST, BM)
    if EXTRA:
        e, e_row = _rows(x_ptr, pairs_ptr, x_stride, first + BM, end, TOP_K, FIRST, EXTRA)
    column = gl.arange(0, 32, gl.SliceLayout(0, _ROWS))
    two = gl.arange(0, 2, gl.SliceLayout(0, _PAIRS))
    w_0 = words + (_weight_rows(n, OUT, _ROWS, 0, GATED, PARTS) * 32)[:, None] + column[None, :]
    s_0 = scales + (_weight_rows(n, OUT, _PAIRS, 0, GATED, PARTS) * 2)[:, None] + two[None, :]
    if PARTS == 2:
        w_1 = words + (_weight_rows(n, OUT, _ROWS, 1, GATED, PARTS) * 32)[:, None] + column[None, :]
        s_1 = scales + (_weight_rows(n, OUT, _PAIRS, 1, GATED, PARTS) * 2)[:, None] + two[None, :]
    steps: gl.constexpr = (K + 127) // 128
    for step in range(steps):
        mbarrier.wait(empty.index(stage), phase)
        _copy_x(x, row, end, K, step * 128, xs, stage, BM, K % 128 == 0)
        if EXTRA:
            _copy_x(e, e_row, end, K, step * 128, xe, stage, EXTRA, K % 128 == 0)
        async_copy.async_copy_global_to_shared(ws.index(PARTS * stage), w_0 + step * (N * 32))
        async_copy.async_copy_global_to_shared(ss.index(PARTS * stage), s_0 + step * (N * 2))
        if PARTS == 2:
            async_copy.async_copy_global_to_shared(ws.index(2 * stage + 1), w_1 + step * (N * 32))
            async_copy.async_copy_global_to_shared(ss.index(2 * stage + 1), s_1 + step * (N * 2))
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
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, BM: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr, LAG: gl.constexpr, MORE: gl.constexpr,
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
        place, expert, first, end = _tile(t, count, tiles, blocks_ptr, GROUP)
        words = words_ptr + expert.to(gl.int64) * (steps * N * 32)
        scales = scales_ptr + expert.to(gl.int64) * (steps * N * 2)
        n = place * BN
        size = end - first
        if size <= LEAST:
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, BM // 4, 0, PARTS, STAGES, LAG)  # fmt: skip
        elif size <= HALF:
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, HALF, 0, PARTS, STAGES, LAG)  # fmt: skip
        elif size <= (HALF + MORE if MORE else 0):
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, HALF, MORE, PARTS, STAGES, LAG)  # fmt: skip
        elif (size > BM) & (size <= (BM + MORE if MORE else 0)):
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, BM, MORE, PARTS, STAGES, LAG)  # fmt: skip
        else:
            stage, phase, filled = _load_block(x_ptr, words, scales, pairs_ptr, x_stride, N, OUT, n, first, end, xs, xe, ws, ss, full, empty, stage, phase, filled, K, TOP_K, FIRST, GATED, BM, 0, PARTS, STAGES, LAG)  # fmt: skip
    async_copy.wait_group(0)
    fence_async_shared()
    for i in gl.static_range(LAG):
        mbarrier.arrive(full.index((stage + (STAGES - LAG + i)) % STAGES), pred=filled >= LAG - i)


@gluon.jit
def _right(xs, at, BM: gl.constexpr):
    x = xs.index(at)
    if BM < x.shape[0]:
        x = x.slice(0, BM, 0)
    return x.permute((1, 0))


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
def _part(
    acc, extra, xs, xe, ws, ss, turn, stage, parity,
    WG: gl.constexpr, PART: gl.constexpr, PARTS: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr,
):  # fmt: skip
    """A step of 64 rows: dequantises while the other consumer multiplies, then multiplies in its turn."""
    words = ws.index(PARTS * stage + PART).slice(64 * WG, 64, 0).load(_LEFT)
    scales = ss.index(PARTS * stage + PART).slice(64 * WG, 64, 0).load(_SCALES)
    a0, a1, a2, a3 = _dequantise(words, scales)
    mbarrier.wait(turn.index(WG), parity)
    acc = _four(a0, a1, a2, a3, xs, stage, acc, BM)
    if EXTRA:
        extra = _four(a0, a1, a2, a3, xe, stage, extra, EXTRA)
        mbarrier.arrive(turn.index(1 - WG))
        acc, extra = warpgroup_mma_wait(0, deps=[acc, extra])
    else:
        mbarrier.arrive(turn.index(1 - WG))
        acc = warpgroup_mma_wait(0, deps=[acc])
    return acc, extra, parity ^ 1


@gluon.jit
def _targets(pairs_ptr, first, end, FIRST: gl.constexpr, BM: gl.constexpr, O: gl.constexpr):
    """The rows of the output that a block's tokens go to."""
    row = first + gl.arange(0, BM, gl.SliceLayout(0, O))
    return row if FIRST else gl.load(pairs_ptr + row, mask=row < end, other=0)


@gluon.jit
def _store(y, rows, out_ptr, out_stride, OUT, n, first, end, BM: gl.constexpr, O: gl.constexpr):
    """y [rows of the weight, BM tokens] as columns n and up of the output's rows, in pieces that take little memory."""
    if BM > 32:
        left, right = gl.split(gl.permute(gl.reshape(y, [y.shape[0], 2, BM // 2]), (0, 2, 1)))
        rows_left, rows_right = gl.split(gl.permute(gl.reshape(rows, [2, BM // 2]), (1, 0)))
        _store(left, rows_left, out_ptr, out_stride, OUT, n, first, end, BM // 2, O)
        _store(right, rows_right, out_ptr, out_stride, OUT, n, first + BM // 2, end, BM // 2, O)
    else:
        y = gl.convert_layout(y, O)
        rows = gl.convert_layout(rows, gl.SliceLayout(0, O))
        live = first + gl.arange(0, BM, gl.SliceLayout(0, O)) < end
        column = n + gl.arange(0, y.shape[0], gl.SliceLayout(1, O))
        out = out_ptr + (rows.to(gl.int64) * out_stride)[None, :] + column[:, None]
        gl.store(out, y, mask=(column < OUT)[:, None] & live[None, :])


@gluon.jit
def _finish(
    acc, up, decode, rows, out_ptr, out_stride, OUT, n, first, end,
    BM: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, PARTS: gl.constexpr, O: gl.constexpr,
):  # fmt: skip
    """Activates the products of a block and writes them."""
    acc *= decode
    if PARTS == 1:
        if GATED:
            gate, up = gl.split(gl.permute(gl.reshape(acc, [4, 2, 8, BM]), (0, 2, 3, 1)))
            acc = gl.reshape(gate_up(gate, up, ACTIVATION), [32, BM])
        elif FIRST:
            acc = point(acc, ACTIVATION)
        _store(acc.to(gl.bfloat16), rows, out_ptr, out_stride, OUT, n, first, end, BM, O)
    else:
        up *= decode
        if GATED:
            acc = gate_up(acc, up, ACTIVATION)
        elif FIRST:
            acc = point(acc, ACTIVATION)
            up = point(up, ACTIVATION)
        _store(acc.to(gl.bfloat16), rows, out_ptr, out_stride, OUT, n, first, end, BM, O)
        if not GATED:
            _store(up.to(gl.bfloat16), rows, out_ptr, out_stride, OUT, n + 128, first, end, BM, O)


@gluon.jit
def _multiply_block(
    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, turn, stage, phase, parity,
    WG: gl.constexpr, K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    L: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BM, 16])
    E: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, EXTRA if EXTRA else 16, 16])
    ROWS: gl.constexpr = 32 if (PARTS == 1) and GATED else 64
    O: gl.constexpr = gl.BlockedLayout([8, 1], [ROWS // 8, 256 // ROWS], [1, 4], [0, 1])
    steps: gl.constexpr = (K + 127) // 128
    rows = _targets(pairs_ptr, first, end, FIRST, BM, O)
    if EXTRA:
        rows_e = _targets(pairs_ptr, first + BM, end, FIRST, EXTRA, O)
    acc = gl.zeros([64, BM], gl.float32, L)
    up = gl.zeros([64, BM], gl.float32, L)
    acc_e = gl.zeros([64, EXTRA if EXTRA else 16], gl.float32, E)
    up_e = gl.zeros([64, EXTRA if EXTRA else 16], gl.float32, E)
    for _ in range(steps):
        mbarrier.wait(full.index(stage), phase)
        acc, acc_e, parity = _part(acc, acc_e, xs, xe, ws, ss, turn, stage, parity, WG, 0, PARTS, BM, EXTRA)
        if PARTS == 2:
            up, up_e, parity = _part(up, up_e, xs, xe, ws, ss, turn, stage, parity, WG, 1, PARTS, BM, EXTRA)
        mbarrier.arrive(empty.index(stage))
        stage += 1
        if stage == STAGES:
            stage = 0
            phase ^= 1
    n += ROWS * WG
    _finish(acc, up, decode, rows, out_ptr, out_stride, OUT, n, first, end, BM, FIRST, GATED, ACTIVATION, PARTS, O)
    if EXTRA:
        _finish(acc_e, up_e, decode, rows_e, out_ptr, out_stride, OUT, n, first + BM, end, EXTRA, FIRST, GATED, ACTIVATION, PARTS, O)
    return stage, phase, parity


@gluon.jit
def _consume(
    decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty, turn,
    WG: gl.constexpr, K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr, MORE: gl.constexpr,
):  # fmt: skip
    BN: gl.constexpr = (64 if GATED else 128) * PARTS
    HALF: gl.constexpr = BM // 2
    LEAST: gl.constexpr = BM // 4
    tiles = gl.cdiv(OUT, BN)
    count = gl.load(count_ptr)
    total = count * tiles
    stage = 0
    phase = 0
    parity = 0
    start = gl.program_id(0)
    if start < total:
        place, expert, first, end = _tile(start, count, tiles, blocks_ptr, GROUP)
        decode = gl.load(decode_ptr + expert)
        for t in range(start, total, gl.num_programs(0)):
            n = place * BN
            # The next tile's place, asked for now that it may take its time.
            soon, expert, next_first, next_end = _tile(gl.minimum(t + gl.num_programs(0), total - 1), count, tiles, blocks_ptr, GROUP)
            size = end - first
            if size <= LEAST:
                stage, phase, parity = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, turn, stage, phase, parity, WG, K, FIRST, GATED, ACTIVATION, BM // 4, 0, PARTS, STAGES)  # fmt: skip
            elif size <= HALF:
                stage, phase, parity = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, turn, stage, phase, parity, WG, K, FIRST, GATED, ACTIVATION, HALF, 0, PARTS, STAGES)  # fmt: skip
            elif size <= (HALF + MORE if MORE else 0):
                stage, phase, parity = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, turn, stage, phase, parity, WG, K, FIRST, GATED, ACTIVATION, HALF, MORE, PARTS, STAGES)  # fmt: skip
            elif (size > BM) & (size <= (BM + MORE if MORE else 0)):
                stage, phase, parity = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, turn, stage, phase, parity, WG, K, FIRST, GATED, ACTIVATION, BM, MORE, PARTS, STAGES)  # fmt: skip
            else:
                stage, phase, parity = _multiply_block(decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, turn, stage, phase, parity, WG, K, FIRST, GATED, ACTIVATION, BM, 0, PARTS, STAGES)  # fmt: skip
            decode = gl.load(decode_ptr + expert)
            place = soon
            first = next_first
            end = next_end


@gluon.jit
def long_product(
    x_ptr, words_ptr, scales_ptr, decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, x_stride, out_stride, N, OUT,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, BM: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr,
    REGS: gl.constexpr, LAG: gl.constexpr, MORE: gl.constexpr,
):  # fmt: skip
    xs = gl.allocate_shared_memory(gl.bfloat16, [4 * STAGES, BM, 32], _PANEL)
    xe = gl.allocate_shared_memory(gl.bfloat16, [4 * STAGES if MORE else 1, MORE if MORE else 16, 32], _PANEL)
    ws = gl.allocate_shared_memory(gl.int16, [PARTS * STAGES, 128, 32], _PANEL)
    ss = gl.allocate_shared_memory(gl.int32, [PARTS * STAGES, 128, 2], _PLAIN)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    turn = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=2)
    mbarrier.init(turn.index(0), count=1)
    mbarrier.init(turn.index(1), count=1)
    mbarrier.arrive(turn.index(0))
    gl.warp_specialize(
        [
            (_produce, (x_ptr, words_ptr, scales_ptr, pairs_ptr, blocks_ptr, count_ptr, x_stride, N, OUT, xs, xe, ws, ss, full, empty,
                        K, TOP_K, FIRST, GATED, BM, PARTS, STAGES, GROUP, LAG, MORE)),
            (_consume, (decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty, turn,
                        0, K, FIRST, GATED, ACTIVATION, BM, PARTS, STAGES, GROUP, MORE)),
            (_consume, (decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty, turn,
                        1, K, FIRST, GATED, ACTIVATION, BM, PARTS, STAGES, GROUP, MORE)),
        ],
        [4, 4],
        [REGS, REGS],
    )  # fmt: skip
