"""The kernels of ``glue``, in Triton's language."""

import triton
import triton.language as tl

from kernels.triton.activate import gate_up, point


@triton.jit
def spread(
    pairs_ptr, blocks_ptr, count_ptr, ids_ptr, experts_ptr, padded_ptr, PAIRS, BM: tl.constexpr, B: tl.constexpr
):
    """Block by block, BM places: the pairs of one expert, and PAIRS where there are no more."""
    block = tl.program_id(0)
    count = tl.load(count_ptr)
    at = tl.arange(0, B)
    real = block < count
    expert = tl.load(blocks_ptr + 3 * block, mask=real, other=-1)
    first = tl.load(blocks_ptr + 3 * block + 1, mask=real, other=0)
    end = tl.load(blocks_ptr + 3 * block + 2, mask=real, other=0)
    here = (at < BM) & (first + at < end)
    pairs = tl.load(pairs_ptr + first + at, mask=here, other=0)
    tl.store(ids_ptr + block * BM + at, tl.where(here, pairs, PAIRS), mask=at < BM)
    tl.store(experts_ptr + block, expert)
    if block == 0:
        tl.store(padded_ptr, count * BM)


@triton.jit
def singles(source_ptr, ids_ptr, experts_ptr, padded_ptr, PAIRS, BM: tl.constexpr, B: tl.constexpr):
    """One token: each pair is a block."""
    block = tl.program_id(0)
    at = tl.arange(0, B)
    tl.store(ids_ptr + block * BM + at, tl.where(at == 0, block, PAIRS), mask=at < BM)
    tl.store(experts_ptr + block, tl.load(source_ptr + block))
    if block == 0:
        tl.store(padded_ptr, PAIRS * BM)


@triton.jit
def offsets(ids_ptr, offsets_ptr, PAIRS, E: tl.constexpr, EP: tl.constexpr, CHUNK: tl.constexpr):
    """Where each expert's rows begin, and where the last one's end."""
    expert = tl.program_id(0)
    before = tl.zeros((), tl.int32)
    start = PAIRS * 0
    while start < PAIRS:
        at = start + tl.arange(0, CHUNK)
        ids = tl.load(ids_ptr + at, mask=at < PAIRS, other=E)
        before += tl.sum(((ids < expert) & (at < PAIRS)).to(tl.int32))
        start += CHUNK
    tl.store(offsets_ptr + expert, before.to(tl.int64))


@triton.jit
def gather(x_ptr, order_ptr, out_ptr, place_ptr, WIDTH, TOP_K: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    pair = tl.load(order_ptr + row).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x_ptr + (pair // TOP_K) * WIDTH + column, mask=column < WIDTH, other=0.0)
    tl.store(out_ptr + row * WIDTH + column, value, mask=column < WIDTH)
    if tl.program_id(1) == 0:
        tl.store(place_ptr + pair, row.to(tl.int32))


@triton.jit
def activate(x_ptr, out_ptr, stride, OUT, GATED: tl.constexpr, ACTIVATION: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(x_ptr + row * stride + n, mask=n < OUT, other=0.0).to(tl.float32)
    if GATED:
        up = tl.load(x_ptr + row * stride + OUT + n, mask=n < OUT, other=0.0).to(tl.float32)
        y = gate_up(gate, up, ACTIVATION)
    else:
        y = point(gate, ACTIVATION)
    tl.store(out_ptr + row * OUT + n, y.to(out_ptr.dtype.element_ty), mask=n < OUT)


@triton.jit
def sum(rows_ptr, place_ptr, weights_ptr, out_ptr, stride, OUT, TOP_K: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(TOP_K):
        row = tl.load(place_ptr + token * TOP_K + k).to(tl.int64)
        value = tl.load(rows_ptr + row * stride + column, mask=column < OUT, other=0.0).to(tl.float32)
        acc += value * tl.load(weights_ptr + token * TOP_K + k)
    tl.store(out_ptr + token * OUT + column, acc.to(out_ptr.dtype.element_ty), mask=column < OUT)
