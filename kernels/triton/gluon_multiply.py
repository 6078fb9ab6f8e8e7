"""A consumer's tile in the kernel for many tokens an expert: dequantise, multiply in turns, activate, write."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, warpgroup_mma, warpgroup_mma_wait

from kernels.triton.activate import gate_up, point
from kernels.triton.decode import DEQUANTISE
from kernels.triton.gluon_tile import LEFT, SCALES

_ASM = gl.constexpr(DEQUANTISE.value)


@gluon.jit
def _dequantise(words, scales):
    """int16 [64, 32] and int32 [64, 2] to the left operands of four products, bf16 [64, 32]."""
    s = gl.expand_dims(scales, 2).broadcast_to(64, 2, 16)
    s = gl.convert_layout(gl.reshape(s, [64, 32]), LEFT, assert_trivial=True)
    return gl.inline_asm_elementwise(
        _ASM,
        "=r,=r,=r,=r,r,r,r",
        [words, s],
        dtype=(gl.bfloat16, gl.bfloat16, gl.bfloat16, gl.bfloat16),
        is_pure=True,
        pack=2,
    )


@gluon.jit
def _right(xs, at, BM: gl.constexpr):
    x = xs.index(at)
    if BM < x.shape[0]:
        x = x.slice(0, BM, 0)
    return x.permute((1, 0))


@gluon.jit
def _four(a0, a1, a2, a3, xs, stage, acc, BM: gl.constexpr):
    """Adds the four products of a step to acc. They go on when this returns."""
    A: gl.constexpr = gl.DotOperandLayout(0, gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BM, 16]), 2)
    acc = warpgroup_mma(gl.convert_layout(a0, A, assert_trivial=True), _right(xs, 4 * stage, BM), acc, is_async=True)
    acc = warpgroup_mma(
        gl.convert_layout(a1, A, assert_trivial=True), _right(xs, 4 * stage + 1, BM), acc, is_async=True
    )
    acc = warpgroup_mma(
        gl.convert_layout(a2, A, assert_trivial=True), _right(xs, 4 * stage + 2, BM), acc, is_async=True
    )
    acc = warpgroup_mma(
        gl.convert_layout(a3, A, assert_trivial=True), _right(xs, 4 * stage + 3, BM), acc, is_async=True
    )
    return acc


@gluon.jit
def _part(
    acc, extra, xs, xe, ws, ss, turn, stage, parity,
    WG: gl.constexpr, PART: gl.constexpr, PARTS: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr,
):  # fmt: skip
    """A step of 64 rows: dequantises while the other consumer multiplies, then multiplies in its turn."""
    words = ws.index(PARTS * stage + PART).slice(64 * WG, 64, 0).load(LEFT)
    scales = ss.index(PARTS * stage + PART).slice(64 * WG, 64, 0).load(SCALES)
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
def _targets(pairs_ptr, first, end, FIRST: gl.constexpr, BM: gl.constexpr, TO: gl.constexpr):
    """The rows of the output that a block's tokens go to."""
    row = first + gl.arange(0, BM, gl.SliceLayout(0, TO))
    return row if FIRST else gl.load(pairs_ptr + row, mask=row < end, other=0)


@gluon.jit
def _store(y, rows, out_ptr, out_stride, OUT, n, first, end, BM: gl.constexpr, TO: gl.constexpr):
    """Writes y [rows of the weight, BM tokens] as columns n and up of the output's rows.

    In pieces of 32 tokens, which take little shared memory on their way to whole rows.
    """
    if BM > 32:
        left, right = gl.split(gl.permute(gl.reshape(y, [y.shape[0], 2, BM // 2]), (0, 2, 1)))
        rows_left, rows_right = gl.split(gl.permute(gl.reshape(rows, [2, BM // 2]), (1, 0)))
        _store(left, rows_left, out_ptr, out_stride, OUT, n, first, end, BM // 2, TO)
        _store(right, rows_right, out_ptr, out_stride, OUT, n, first + BM // 2, end, BM // 2, TO)
    else:
        y = gl.convert_layout(y, TO)
        rows = gl.convert_layout(rows, gl.SliceLayout(0, TO))
        live = first + gl.arange(0, BM, gl.SliceLayout(0, TO)) < end
        column = n + gl.arange(0, y.shape[0], gl.SliceLayout(1, TO))
        out = out_ptr + (rows.to(gl.int64) * out_stride)[None, :] + column[:, None]
        gl.store(out, y, mask=(column < OUT)[:, None] & live[None, :])


@gluon.jit
def _finish(
    acc, up, decode, rows, out_ptr, out_stride, OUT, n, first, end,
    BM: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr, PARTS: gl.constexpr,
    TO: gl.constexpr,
):  # fmt: skip
    """Activates the products of a block and writes them."""
    acc *= decode
    if PARTS == 1:
        if GATED:
            gate, up = gl.split(gl.permute(gl.reshape(acc, [4, 2, 8, BM]), (0, 2, 3, 1)))
            acc = gl.reshape(gate_up(gate, up, ACTIVATION), [32, BM])
        elif FIRST:
            acc = point(acc, ACTIVATION)
        _store(acc.to(gl.bfloat16), rows, out_ptr, out_stride, OUT, n, first, end, BM, TO)
    else:
        up *= decode
        if GATED:
            acc = gate_up(acc, up, ACTIVATION)
        elif FIRST:
            acc = point(acc, ACTIVATION)
            up = point(up, ACTIVATION)
        _store(acc.to(gl.bfloat16), rows, out_ptr, out_stride, OUT, n, first, end, BM, TO)
        if not GATED:
            _store(up.to(gl.bfloat16), rows, out_ptr, out_stride, OUT, n + 128, first, end, BM, TO)


@gluon.jit
def multiply_block(
    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full, empty, turn, stage, phase, parity,
    WG: gl.constexpr, K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr,
    BM: gl.constexpr, EXTRA: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    L: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BM, 16])
    E: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, EXTRA if EXTRA else 16, 16])
    COLUMNS: gl.constexpr = 32 if (PARTS == 1) and GATED else 64
    TO: gl.constexpr = gl.BlockedLayout([8, 1], [COLUMNS // 8, 256 // COLUMNS], [1, 4], [0, 1])
    steps: gl.constexpr = (K + 127) // 128
    rows = _targets(pairs_ptr, first, end, FIRST, BM, TO)
    if EXTRA:
        rows_e = _targets(pairs_ptr, first + BM, end, FIRST, EXTRA, TO)
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
    n += COLUMNS * WG
    _finish(acc, up, decode, rows, out_ptr, out_stride, OUT, n, first, end, BM, FIRST, GATED, ACTIVATION, PARTS, TO)
    if EXTRA:
        _finish(
            acc_e,
            up_e,
            decode,
            rows_e,
            out_ptr,
            out_stride,
            OUT,
            n,
            first + BM,
            end,
            EXTRA,
            FIRST,
            GATED,
            ACTIVATION,
            PARTS,
            TO,
        )
    return stage, phase, parity
