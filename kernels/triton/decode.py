"""NVFP4 to bf16 in registers: words and scales of ``kernels.triton.pack`` become the left operands of four products."""

import triton
import triton.language as tl

# From two words and their scales, the bf16 pairs of four products.
#
# Codes: a code's three value bits go to the lowest exponent bits and the highest mantissa bit of a bf16, which is then worth
# 2^-126 times the code. That holds for the code 0.5 too, as a bf16 subnormal, so no code needs a case of its own and no table
# is read. The masks: 0x81C0 takes sign, exponent and mantissa of codes 0 to 2 after one shift at most. Code 3 has the bits that the
# others left, in three places.
#
# Scales: byte j of a word belongs to product j. ``prmt`` puts it into both halves of a register, times 16 moves its five
# exponent and three mantissa bits into a bf16's, and 0x7600 adds 236 to the exponent, which makes the bf16 2^119 times the
# scale. The product is 2^-7 times the weight; ``Packed.decode`` holds the missing 2^7. No bf16 holds 2^126 times a large scale.
#
# The product is an ``fma`` with -0.0, which changes no result, not even a zero's sign: ``mul.bf16x2`` needs SM90, ``fma`` SM80.
DEQUANTISE = tl.constexpr("""
{
.reg .b32 a, b, c, d, e, f, z, s, t, u, v;
mov.b32 z, 0x80008000;
prmt.b32 s, $5, 0, 0x4040;
prmt.b32 t, $5, 0, 0x4141;
prmt.b32 u, $5, 0, 0x4242;
prmt.b32 v, $5, 0, 0x4343;
mad.lo.u32 s, s, 16, 0x76007600;
mad.lo.u32 t, t, 16, 0x76007600;
mad.lo.u32 u, u, 16, 0x76007600;
mad.lo.u32 v, v, 16, 0x76007600;
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
fma.rn.bf16x2 $0, a, s, z;
fma.rn.bf16x2 $1, b, t, z;
fma.rn.bf16x2 $2, c, u, z;
fma.rn.bf16x2 $3, d, v, z;
}
""")


@triton.jit
def _times(bits, scales, J: tl.constexpr):
    """The assembly's product in fp32, for the interpreter, which flushes bf16 subnormals to zero when it converts them."""
    code = (bits << 16).to(tl.float32, bitcast=True)
    scale = (((scales >> (8 * J)) & 0xFF) << 4) + 0x7600
    return code * (scale << 16).to(tl.float32, bitcast=True)


@triton.jit
def dequantise(words, scales, BN: tl.constexpr, ASM: tl.constexpr):
    """int16 [BN, 32] and int32 [BN, 2] to the left operands of four products, bf16 [BN, 32]."""
    s = tl.reshape(tl.broadcast_to(scales[:, :, None], (BN, 2, 16)), (BN, 32))
    if ASM:
        w0, w1, w2, w3 = tl.inline_asm_elementwise(
            DEQUANTISE,
            "=r,=r,=r,=r,r,r,r",
            [words, s],
            dtype=(tl.bfloat16, tl.bfloat16, tl.bfloat16, tl.bfloat16),
            is_pure=True,
            pack=2,
        )
    else:
        w = words.to(tl.int32)
        w0 = _times(w & 0x81C0, s, 0)
        w1 = _times((w << 3) & 0x81C0, s, 1)
        w2 = _times((w << 6) & 0x81C0, s, 2)
        w3 = _times(((w << 1) & 0x8000) | ((w >> 3) & 0x0180) | ((w >> 7) & 0x0040), s, 3)
    return w0, w1, w2, w3
