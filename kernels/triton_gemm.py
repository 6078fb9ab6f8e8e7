"""The grouped matrix products of the Triton kernel: NVFP4 weights dequantised in registers, transposed outputs.

Each program computes ``weights [BN, K] @ x.T [K, BM]``: the weight is the left operand, which Hopper's matrix
instruction takes from registers, so a dequantised weight never passes through shared memory.
"""

import triton
import triton.language as tl

# Four products' bf16 pairs from two words and four pairs of scales. A code's bits, at the low end of a bf16's exponent,
# are worth 2^-126 of the code, subnormals included; the scales carry 2^119 of that, and the epilogue the last 2^7.
_DEQUANTISE = tl.constexpr("""
{
.reg .b32 a, b, c, d, e, f, z;
mov.b32 z, 0x80008000;
and.b32 a, $4, 0x81C081C0;
shl.b32 b, $4, 3;
and.b32 b, b, 0x81C081C0;
shl.b32 c, $4, 6;
and.b32 c, c, 0x81C081C0;
shl.b32 d, $4, 1;
and.b32 d, d, 0x80008000;
shr.b32 e, $4, 3;
and.b32 e, e, 0x01800180;
or.b32 d, d, e;
shr.b32 f, $4, 7;
and.b32 f, f, 0x00400040;
or.b32 d, d, f;
fma.rn.bf16x2 $0, a, $5, z;
fma.rn.bf16x2 $1, b, $6, z;
fma.rn.bf16x2 $2, c, $7, z;
fma.rn.bf16x2 $3, d, $8, z;
}
""")


@triton.jit
def _scale(words, J: tl.constexpr, BN: tl.constexpr):
    """The scales of product J, bits of bf16 [BN, 32]."""
    bits = ((((words >> (8 * J)) & 0xFF) << 4) + 0x7600).to(tl.int16)
    return tl.reshape(tl.broadcast_to(bits[:, :, None], (BN, 2, 16)), (BN, 32))


@triton.jit
def _times(bits, scale):
    """What the assembly's product gives, in fp32, for the interpreter: it flushes bf16 subnormals when it converts them."""
    code = (bits << 16).to(tl.float32, bitcast=True)
    return code * (scale.to(tl.int32) << 16).to(tl.float32, bitcast=True)


@triton.jit
def _dot(w, x, acc, ASM: tl.constexpr):
    """The matrix product; in fp32 in the interpreter, which multiplies bf16 by their bits."""
    if ASM:
        acc = tl.dot(w, x, acc)
    else:
        acc = tl.dot(w.to(tl.float32), x.to(tl.float32), acc, input_precision="ieee")
    return acc


@triton.jit
def _dequantise(words, scales, BN: tl.constexpr, ASM: tl.constexpr):
    """int16 [BN, 32] and int32 [BN, 2] to the left operands of four products, bf16 [BN, 32]."""
    s0 = _scale(scales, 0, BN)
    s1 = _scale(scales, 1, BN)
    s2 = _scale(scales, 2, BN)
    s3 = _scale(scales, 3, BN)
    if ASM:
        w0, w1, w2, w3 = tl.inline_asm_elementwise(
            _DEQUANTISE,
            "=r,=r,=r,=r,r,r,r,r,r",
            [words, s0, s1, s2, s3],
            dtype=(tl.bfloat16, tl.bfloat16, tl.bfloat16, tl.bfloat16),
            is_pure=True,
            pack=2,
        )
    else:
        w = words.to(tl.int32)
        w0 = _times(w & 0x81C0, s0)
        w1 = _times((w << 3) & 0x81C0, s1)
        w2 = _times((w << 6) & 0x81C0, s2)
        w3 = _times(((w << 1) & 0x8000) | ((w >> 3) & 0x0180) | ((w >> 7) & 0x0040), s3)
    return w0, w1, w2, w3


@triton.jit
def _columns(x, k, K: tl.constexpr, BM: tl.constexpr):
    """x.T [32, BM] from column k: pointers of the rows, and a mask only where the last step is not whole."""
    at = k + tl.arange(0, 32)[:, None]
    if K % 128 == 0:
        tile = tl.load(x + at)
    else:
        tile = tl.load(x + at, mask=(at < K) & (tl.arange(0, BM)[None, :] >= 0), other=0.0)
    return tile


@triton.jit
def _point(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "silu":
        y = x / (1 + tl.exp(-x))
    elif ACTIVATION == "gelu-tanh":
        y = x / (1 + tl.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)))
    else:
        tl.static_assert(ACTIVATION == "relu2")
        y = tl.maximum(x, 0.0)
        y = y * y
    return y


@triton.jit
def _activate(gate, up, ACTIVATION: tl.constexpr):
    if ACTIVATION == "clamped-swiglu":
        gate = tl.minimum(gate, 7.0)
        up = tl.minimum(tl.maximum(up, -7.0), 7.0)
        y = gate / (1 + tl.exp(-1.702 * gate)) * (up + 1)
    else:
        y = _point(gate, ACTIVATION) * up
    return y


@triton.jit
def grouped_product(
    x_ptr,
    words_ptr,
    scales_ptr,
    decode_ptr,
    pairs_ptr,
    blocks_ptr,
    count_ptr,
    out_ptr,
    x_stride,
    out_stride,
    N,
    OUT,
    K: tl.constexpr,
    TOP_K: tl.constexpr,
    FIRST: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    STAGES: tl.constexpr,
    ASM: tl.constexpr,
):
    """One block of one expert's tokens by BN of its rows.

    The first product reads the rows of ``x`` that its pairs name and writes activated rows in sorted order, OUT columns
    wide; the second reads those and writes one row for each pair. Row n of a gated matrix is a gate, row OUT + n its
    up projection. ``blocks`` holds (expert, first row, end) for each block.
    """
    tiles = tl.cdiv(OUT, BN)
    block = tl.program_id(0) // tiles
    n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    if block >= tl.load(count_ptr):
        return
    expert = tl.load(blocks_ptr + 3 * block).to(tl.int64)
    row = tl.load(blocks_ptr + 3 * block + 1) + tl.arange(0, BM)
    live = row < tl.load(blocks_ptr + 3 * block + 2)
    # Rows beyond the block's end repeat its first, and are not written.
    row = tl.where(live, row, tl.load(blocks_ptr + 3 * block + 1))
    pair = tl.load(pairs_ptr + row)
    source = pair // TOP_K if FIRST else row
    x = x_ptr + (source.to(tl.int64) * x_stride)[None, :]
    steps: tl.constexpr = (K + 127) // 128
    safe = tl.where(n < OUT, n, 0)
    w = words_ptr + expert * (steps * N * 32) + safe[:, None] * 32 + tl.arange(0, 32)[None, :]
    s = scales_ptr + expert * (steps * N * 2) + safe[:, None] * 2 + tl.arange(0, 2)[None, :]
    acc = tl.zeros((BN, BM), tl.float32)
    up = tl.zeros((BN, BM), tl.float32)
    for step in tl.range(0, steps, num_stages=STAGES):
        x0 = _columns(x, step * 128, K, BM)
        x1 = _columns(x, step * 128 + 32, K, BM)
        x2 = _columns(x, step * 128 + 64, K, BM)
        x3 = _columns(x, step * 128 + 96, K, BM)
        w0, w1, w2, w3 = _dequantise(tl.load(w), tl.load(s), BN, ASM)
        acc = _dot(w0, x0, acc, ASM)
        acc = _dot(w1, x1, acc, ASM)
        acc = _dot(w2, x2, acc, ASM)
        acc = _dot(w3, x3, acc, ASM)
        if GATED:
            u0, u1, u2, u3 = _dequantise(tl.load(w + OUT * 32), tl.load(s + OUT * 2), BN, ASM)
            up = _dot(u0, x0, up, ASM)
            up = _dot(u1, x1, up, ASM)
            up = _dot(u2, x2, up, ASM)
            up = _dot(u3, x3, up, ASM)
        w += N * 32
        s += N * 2
    decode = tl.load(decode_ptr + expert)
    acc *= decode
    if FIRST:
        if GATED:
            acc = _activate(acc, up * decode, ACTIVATION)
        else:
            acc = _point(acc, ACTIVATION)
        target = row
    else:
        target = pair
    out = out_ptr + target.to(tl.int64)[None, :] * out_stride + n[:, None]
    tl.store(out, acc.to(out_ptr.dtype.element_ty), mask=(n < OUT)[:, None] & live[None, :])
