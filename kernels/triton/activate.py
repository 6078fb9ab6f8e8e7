"""Activations of the Triton kernel, and the pass that sums a split product's parts and activates them."""

import triton
import triton.language as tl


@triton.jit
def point(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "silu":
        y = x / (1 + tl.exp(-x))
    elif ACTIVATION == "gelu-tanh":
        # x * sigmoid(2z) equals x / 2 * (1 + tanh(z)), and nothing cancels at negative x. 1.5957... is 2 * sqrt(2 / pi).
        y = x / (1 + tl.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)))
    else:
        tl.static_assert(ACTIVATION == "relu2")
        y = tl.maximum(x, 0.0)
        y = y * y
    return y


# 7.0 and 1.702 are CLAMP and STEEPNESS of kernels.layer.experts: a jitted function reads no global that is not a constexpr.
@triton.jit
def gate_up(gate, up, ACTIVATION: tl.constexpr):
    if ACTIVATION == "clamped-swiglu":
        gate = tl.minimum(gate, 7.0)
        up = tl.minimum(tl.maximum(up, -7.0), 7.0)
        y = gate / (1 + tl.exp(-1.702 * gate)) * (up + 1)
    else:
        y = point(gate, ACTIVATION) * up
    return y


@triton.jit
def activate_parts(
    parts_ptr,
    out_ptr,
    OUT,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum the parts of the first product, fp32 [pairs, SPLIT, 2 OUT or OUT], and apply the activation: [pairs, OUT]."""
    pair = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    width = OUT * (2 if GATED else 1)
    acc = tl.zeros((BLOCK,), tl.float32)
    up = tl.zeros((BLOCK,), tl.float32)
    for part in tl.static_range(SPLIT):
        row = parts_ptr + (pair * SPLIT + part) * width
        acc += tl.load(row + n, mask=n < OUT, other=0.0)
        if GATED:
            up += tl.load(row + OUT + n, mask=n < OUT, other=0.0)
    acc = gate_up(acc, up, ACTIVATION) if GATED else point(acc, ACTIVATION)
    tl.store(out_ptr + pair * OUT + n, acc.to(out_ptr.dtype.element_ty), mask=n < OUT)
