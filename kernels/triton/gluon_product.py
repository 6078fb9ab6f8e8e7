"""The grouped products for many tokens an expert, in Gluon for Hopper: one producer and two consumers a program.

As ``gemm`` does, each computes ``weights [rows, K] @ x.T [K, tokens]`` with the dequantised weight as the left operand, in
registers. The producer keeps ``STAGES`` steps of 128 columns in shared memory and says so by barriers. A consumer, four
warps, dequantises 64 rows while the other one multiplies, and multiplies in its turn. Programs stay, and take tiles in an
order that has programs at the same weight at the same time.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier

from kernels.triton.gluon_load import produce
from kernels.triton.gluon_multiply import multiply_block
from kernels.triton.gluon_tile import PANEL, PLAIN, tile_at


@gluon.jit
def consume(
    decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty, turn,
    WG: gl.constexpr, K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr,
    BM: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr, MORE: gl.constexpr,
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
        place, expert, first, end = tile_at(start, count, tiles, blocks_ptr, GROUP)
        decode = gl.load(decode_ptr + expert)
        for t in range(start, total, gl.num_programs(0)):
            n = place * BN
            # Where the next tile is: loaded long before it is needed.
            later = gl.minimum(t + gl.num_programs(0), total - 1)
            soon, expert, next_first, next_end = tile_at(later, count, tiles, blocks_ptr, GROUP)
            size = end - first
            if size <= LEAST:
                stage, phase, parity = multiply_block(
                    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full,
                    empty, turn, stage, phase, parity,
                    WG, K, FIRST, GATED, ACTIVATION, BM // 4, 0, PARTS, STAGES,
                )  # fmt: skip
            elif size <= HALF:
                stage, phase, parity = multiply_block(
                    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full,
                    empty, turn, stage, phase, parity,
                    WG, K, FIRST, GATED, ACTIVATION, HALF, 0, PARTS, STAGES,
                )  # fmt: skip
            elif size <= (HALF + MORE if MORE else 0):
                stage, phase, parity = multiply_block(
                    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full,
                    empty, turn, stage, phase, parity,
                    WG, K, FIRST, GATED, ACTIVATION, HALF, MORE, PARTS, STAGES,
                )  # fmt: skip
            elif (size > BM) & (size <= (BM + MORE if MORE else 0)):
                stage, phase, parity = multiply_block(
                    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full,
                    empty, turn, stage, phase, parity,
                    WG, K, FIRST, GATED, ACTIVATION, BM, MORE, PARTS, STAGES,
                )  # fmt: skip
            else:
                stage, phase, parity = multiply_block(
                    decode, pairs_ptr, out_ptr, out_stride, OUT, n, first, end, xs, xe, ws, ss, full,
                    empty, turn, stage, phase, parity,
                    WG, K, FIRST, GATED, ACTIVATION, BM, 0, PARTS, STAGES,
                )  # fmt: skip
            decode = gl.load(decode_ptr + expert)
            place = soon
            first = next_first
            end = next_end


@gluon.jit
def long_product(
    x_ptr, words_ptr, scales_ptr, decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, x_stride, out_stride, N, OUT,
    K: gl.constexpr, TOP_K: gl.constexpr, FIRST: gl.constexpr, GATED: gl.constexpr, ACTIVATION: gl.constexpr,
    BM: gl.constexpr, PARTS: gl.constexpr, STAGES: gl.constexpr, GROUP: gl.constexpr,
    REGS: gl.constexpr, LAG: gl.constexpr, MORE: gl.constexpr,
):  # fmt: skip
    """Every block's tokens by its expert's weight, by as many programs as there are multiprocessors.

    Takes the arguments of ``gemm.grouped_product``; ``blocks`` are sorted, of BM tokens, an expert's last one of up to
    BM + MORE. A tile is a block by PARTS times 128 rows of the weight. Of a gated one half of them are gates.
    """
    xs = gl.allocate_shared_memory(gl.bfloat16, [4 * STAGES, BM, 32], PANEL)
    xe = gl.allocate_shared_memory(gl.bfloat16, [4 * STAGES if MORE else 1, MORE if MORE else 16, 32], PANEL)
    ws = gl.allocate_shared_memory(gl.int16, [PARTS * STAGES, 128, 32], PANEL)
    ss = gl.allocate_shared_memory(gl.int32, [PARTS * STAGES, 128, 2], PLAIN)
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
            (produce, (
                x_ptr, words_ptr, scales_ptr, pairs_ptr, blocks_ptr, count_ptr, x_stride, N, OUT,
                xs, xe, ws, ss, full, empty, K, TOP_K, FIRST, GATED, BM, PARTS, STAGES, GROUP, LAG, MORE,
            )),
            (consume, (
                decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty, turn,
                0, K, FIRST, GATED, ACTIVATION, BM, PARTS, STAGES, GROUP, MORE,
            )),
            (consume, (
                decode_ptr, pairs_ptr, blocks_ptr, count_ptr, out_ptr, out_stride, OUT, xs, xe, ws, ss, full, empty, turn,
                1, K, FIRST, GATED, ACTIVATION, BM, PARTS, STAGES, GROUP, MORE,
            )),
        ],
        [4, 4],
        [REGS, REGS],
    )  # fmt: skip
