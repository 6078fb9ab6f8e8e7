"""Routing for the Triton kernel, on the device and without synchronising: blocks of each expert, and the sum over experts."""

import triton
import triton.language as tl


@triton.jit
def _ids(ids_ptr, start, PAIRS, E: tl.constexpr, CHUNK: tl.constexpr):
    """Ids of a chunk of pairs. Ids that name no expert, and those past the end, become E."""
    at = start + tl.arange(0, CHUNK)
    ids = tl.load(ids_ptr + at, mask=at < PAIRS, other=E)
    return tl.where((ids >= 0) & (ids < E), ids, E)


@triton.jit
def align(
    ids_ptr,
    pairs_ptr,
    blocks_ptr,
    count_ptr,
    PAIRS,
    E: tl.constexpr,
    BM: tl.constexpr,
    SLACK: tl.constexpr,
    EP: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """One program for each expert writes its pairs in order, and its blocks of BM. EP is a power of two above E.

    An expert's last block may hold up to SLACK pairs more than BM, for a kernel that takes such a block whole.

    Each program counts the pairs of every expert, since its own begin where the others' end. Counting E times costs less
    than a second launch, and needs no atomics: the order of the pairs, and so of every sum, is the same in each run.
    """
    expert = tl.program_id(0)
    counts = tl.zeros((EP,), tl.int32)
    # while, not range: the interpreter holds numbers in arrays, which Python's range does not take. PAIRS * 0 is a zero of
    # the type that the loop carries.
    start = PAIRS * 0
    while start < PAIRS:
        counts += tl.histogram(_ids(ids_ptr, start, PAIRS, E, CHUNK), EP)
        start += CHUNK
    lane = tl.arange(0, EP)
    counts = tl.where(lane < E, counts, 0)
    blocks = tl.maximum((counts - SLACK + BM - 1) // BM, tl.minimum(counts, 1))
    first = tl.sum(tl.where(lane < expert, counts, 0))
    block = tl.sum(tl.where(lane < expert, blocks, 0))
    mine = tl.sum(tl.where(lane == expert, counts, 0))
    if expert == 0:
        tl.store(count_ptr, tl.sum(blocks))
    end = first + mine
    row = first
    last = first + tl.maximum(mine - SLACK, tl.minimum(mine, 1))
    while row < last:
        tl.store(blocks_ptr + 3 * block, expert)
        tl.store(blocks_ptr + 3 * block + 1, row)
        tl.store(blocks_ptr + 3 * block + 2, end)
        block += 1
        row += BM
    start = PAIRS * 0
    while start < PAIRS:
        chosen = _ids(ids_ptr, start, PAIRS, E, CHUNK) == expert
        ones = chosen.to(tl.int32)
        place = first + tl.cumsum(ones, 0) - ones
        tl.store(pairs_ptr + place, start + tl.arange(0, CHUNK), mask=chosen)
        first += tl.sum(ones)
        start += CHUNK


@triton.jit
def combine(
    rows_ptr,
    ids_ptr,
    weights_ptr,
    shared_ptr,
    out_ptr,
    rows_stride,
    shared_stride,
    WIDTH,
    OUT,
    E: tl.constexpr,
    TOP_K: tl.constexpr,
    SPLIT: tl.constexpr,
    SHARED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out[t] = shared[t] + the sum of a token's rows by its weights; columns from WIDTH to OUT become zero.

    The row of a pair whose id names no expert was never written and may hold NaN, so it is masked and not multiplied by
    zero. Parts and experts are summed in a fixed order in fp32: the same inputs give the same bits.
    """
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.float32)
    if SHARED:
        acc += tl.load(shared_ptr + token * shared_stride + column, mask=column < OUT, other=0.0).to(tl.float32)
    for k in tl.static_range(TOP_K):
        pair = token * TOP_K + k
        expert = tl.load(ids_ptr + pair)
        # Not `(column < WIDTH) & real`: the interpreter of Triton 3.9 makes int32 of it, and takes no such mask.
        width = tl.where((expert >= 0) & (expert < E), WIDTH, 0)
        row = tl.zeros((BLOCK,), tl.float32)
        for part in tl.static_range(SPLIT):
            at = rows_ptr + (pair * SPLIT + part) * rows_stride + column
            row += tl.load(at, mask=column < width, other=0.0).to(tl.float32)
        acc += row * tl.load(weights_ptr + pair)
    tl.store(out_ptr + token * OUT + column, acc.to(out_ptr.dtype.element_ty), mask=column < OUT)
