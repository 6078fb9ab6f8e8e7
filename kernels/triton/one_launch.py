"""The two launches for one token, and their tiles. Imports triton, so import this where it is used."""

import triton
from torch import Tensor

from kernels.triton.one_token import COLUMNS, first_of_one, second_of_one
from kernels.triton.pack import STEP, Packed

# Programs of two warps by 32 rows were the fastest on an H100, about six of them on each multiprocessor.
WARPS, ROWS, PROGRAMS = 2, 32, 800
GROUPS: int = COLUMNS.value


def takes_one(tokens: int, top_k: int) -> bool:
    """Whether these launches take a call: one token, whose experts make two, four or eight whole groups."""
    return tokens == 1 and top_k in (2, 4, GROUPS)


def one_token(
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    first: Packed,
    second: Packed,
    intermediate: int,
    activation: str,
    shared: Tensor | None,
    out: Tensor,
    assembly: bool,
) -> Tensor:
    """Both products and the sum over the experts of a token, x [1, H], into ``out`` [1, out_width]."""
    experts, top_k = first.words.shape[0], ids.shape[1]
    inner = x.new_empty(top_k, intermediate)
    rows, hidden = first.words.shape[2], x.shape[1]
    parts = parts_of_first(top_k * intermediate)
    bn = ROWS // parts
    stages = 3 if hidden <= 16 * STEP * parts else 4
    first_of_one[(top_k * triton.cdiv(intermediate, bn),)](
        x,
        first.words,
        first.scales,
        first.decode,
        ids,
        inner,
        rows,
        intermediate,
        K=hidden,
        E=experts,
        GATED=rows == 2 * intermediate,
        ACTIVATION=activation,
        BN=bn,
        PARTS=parts,
        STAGES=stages,
        ASM=assembly,
        num_warps=WARPS,
        num_stages=stages,
    )
    bn = rows_of_second(out.shape[1])
    stages = 4 if bn * GROUPS <= 2 * ROWS else 3
    second_of_one[(triton.cdiv(out.shape[1], bn),)](
        inner,
        second.words,
        second.scales,
        second.decode,
        ids,
        weights,
        out if shared is None else shared,  # never read without a shared expert, but a kernel needs a pointer
        out,
        second.words.shape[2],
        out.shape[1],
        K=intermediate,
        E=experts,
        SLOTS=top_k,
        SHARED=shared is not None,
        BN=bn,
        PARTS=GROUPS // top_k,
        STAGES=stages,
        ASM=assembly,
        num_warps=WARPS,
        num_stages=stages,
    )
    return out


def parts_of_first(rows: int) -> int:
    """Into how many parts the first product's columns go: as many as leave no more than PROGRAMS programs."""
    return next((parts for parts in (8, 4, 2) if rows * parts <= PROGRAMS * ROWS), 1)


def rows_of_second(width: int) -> int:
    """The columns of the output that a program of the second product makes: as few as leave no more than PROGRAMS programs."""
    return next((bn for bn in (4, 8, 16) if width <= PROGRAMS * bn), 32)
