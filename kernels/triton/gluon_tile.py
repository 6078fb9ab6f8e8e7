"""What the parts of the kernel for many tokens an expert share: layouts, and which tile is whose."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

# Layouts of a consumer's four warps: the left operand of a product of 64 rows; the words and scales that become it.
_SPREAD = gl.constexpr(
    gl.DistributedLinearLayout(
        [[0, 0, 1], [8, 0, 0], [0, 0, 8], [0, 1, 0]],
        [[0, 0, 2], [0, 0, 4], [1, 0, 0], [2, 0, 0], [4, 0, 0]],
        [[16, 0, 0], [32, 0, 0]],
        [],
        [64, 2, 16],
    )
)
SCALES = gl.constexpr(gl.SliceLayout(2, _SPREAD.value))
LEFT = gl.constexpr(gl.DotOperandLayout(0, gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 16, 16]), 2))
# Layouts of the producer's four warps: 16 bytes a thread of rows of 64 bytes; 8 bytes, the scales of a row.
ROWS = gl.constexpr(gl.BlockedLayout([1, 8], [8, 4], [4, 1], [1, 0]))
PAIRS = gl.constexpr(gl.BlockedLayout([1, 2], [32, 1], [4, 1], [1, 0]))
# Layouts in shared memory: in order; as the matrix units read 32 columns of bf16.
PLAIN = gl.constexpr(gl.SwizzledSharedLayout(1, 1, 1, [1, 0]))
PANEL = gl.constexpr(gl.NVMMASharedLayout(swizzle_byte_width=64, element_bitwidth=16, rank=2))


@gluon.jit
def tile_at(t, count, tiles, blocks_ptr, GROUP: gl.constexpr):
    """Tile t: its place among the weight's rows, and its block. GROUP blocks share a tile of the weight in the cache."""
    group = t // (GROUP * tiles)
    size = gl.minimum(GROUP, count - group * GROUP)
    within = t - group * (GROUP * tiles)
    at = blocks_ptr + 3 * (group * GROUP + within % size)
    return within // size, gl.load(at), gl.load(at + 1), gl.load(at + 2)


@gluon.jit
def weight_rows(n, OUT, LAYOUT: gl.constexpr, PART: gl.constexpr, GATED: gl.constexpr, PARTS: gl.constexpr):
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
