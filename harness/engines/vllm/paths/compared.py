"""Padded weights compared with what they should be: the weights with zeros behind them."""

from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_BYTES = 8  # of a block of 16 codes, two in a byte
_NO_SIGNS = 0x77


class WrongWeights(ValueError):
    """A helper returned other weights than it should. The text says which, and where they begin to differ."""


def repeated(weight: Tensor, dim: int, size: int) -> Tensor:
    """The weight with a dimension of this size, its contents once or several times over."""
    times = -(-size // weight.shape[dim])
    bits = torch.cat([weight.view(torch.uint8)] * times, dim).narrow(dim, 0, size).contiguous()
    return bits.view(weight.dtype)


def columns(weight: Tensor, more: int) -> Tensor:
    """The weight with columns of zeros behind it."""
    return functional.pad(weight.float(), (0, more)).to(weight.dtype)


def rows(weight: Tensor, more: int) -> Tensor:
    """The weight with rows of zeros below it."""
    return functional.pad(weight.float(), (0, 0, 0, more)).to(weight.dtype)


def rows_of_both(weight: Tensor, more: int) -> Tensor:
    """Gate and up, each with rows of zeros behind it."""
    return torch.cat([rows(half, more).float() for half in weight.chunk(2, 1)], 1).to(weight.dtype)


def compare(
    helper: str,
    names: tuple[str, ...],
    found: Any,
    wanted: tuple[Tensor, ...],
    gated: tuple[Tensor, ...] = (),
    codes: tuple[Tensor | None, ...] = (),
) -> None:
    """Raise WrongWeights where tensors differ. The first of them were ``gated`` before, each gate and up in one tensor.

    ``codes`` has for a tensor of scales the FP4 codes that they are of: where those of a block are zero, any finite scale is right.
    """
    for name, one, right, before, of in zip_longest(names, found, wanted, gated, codes):
        same(helper, f"{name}'s shape", [*one.shape], [*right.shape])
        same(helper, f"{name}'s dtype", one.dtype, right.dtype)
        differs = one.float() != right.float()
        if of is not None:
            differs &= ~(_zero_blocks(of, one) & one.float().isfinite())
        places = differs.nonzero()
        if len(places):
            expert = f"expert {places[0][0]}, " if one.dim() == 3 else ""
            row, column = places[0][-2:].tolist()
            raise WrongWeights(
                f"{helper}: {name} {[*one.shape]} differs from {_wanted(name)}, first at {expert}row {row}, "
                f"column {column}; {len(places)} of {one.numel()} values differ{_as_one_block(one, before)}"
            )


def _wanted(name: str) -> str:
    """What a tensor of this name should be, in words."""
    if name == "output":
        return "the rows without their padding"
    what = "scales" if "scale" in name else "rows" if name == "input" else "weights"
    return f"the {what} padded with zeros"


def _zero_blocks(codes: Tensor, scales: Tensor) -> Tensor:
    """For each scale whether all codes of its block are zero, of either sign. Beyond the codes there is nothing."""
    missing = (0, _BYTES * scales.shape[-1] - codes.shape[-1], 0, scales.shape[-2] - codes.shape[-2])
    whole = functional.pad(codes.view(torch.uint8) & _NO_SIGNS, missing)
    return (whole.view(*scales.shape, _BYTES) == 0).all(-1)


def _as_one_block(found: Tensor, before: Tensor | None) -> str:
    """Says so where all rows of padding are behind gate and up together."""
    if before is None or not torch.equal(found.float(), rows(before, found.shape[1] - before.shape[1]).float()):
        return ""
    return ". Gate and up are padded as one block, so that up begins in gate's padding"


def same(helper: str, what: str, found: object, wanted: object) -> None:
    """Raise WrongWeights where a number or a property differs."""
    if found != wanted:
        raise WrongWeights(f"{helper}: {what} is {found}; expected {wanted}")
