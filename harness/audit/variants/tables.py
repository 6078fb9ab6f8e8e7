"""Indices, offsets and lengths among the arguments. They must fit a dimension whose size a variant changes.

An op need not check them, and a kernel that trusts them reads memory outside its arguments. An integer tensor does not say
what it is, so each rule here gives numbers that are in range in every reading; where there are none, there is no variant.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from harness.audit.tensors import plain

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _whole(x: object) -> bool:
    return isinstance(x, Tensor) and x.dtype in _INTEGERS and plain(x) and bool(x.numel())


def is_offsets(x: object) -> bool:
    """Whether a tensor may be a table of offsets, or sorted indices: integers of one dimension that only rise, from 0."""
    if not isinstance(x, Tensor) or not _whole(x) or x.dim() != 1 or x.numel() < 2:
        return False
    return bool(x[0] == 0) and bool((x.diff() >= 0).all()) and bool(x[-1] > 0)


def is_ends(x: object, sizes: Iterable[int]) -> bool:
    """Whether a tensor may be a table of the ends of groups: integers of one dimension that only rise, up to one of these sizes."""
    if not isinstance(x, Tensor) or not _whole(x) or x.dim() != 1:
        return False
    return bool((x >= 0).all()) and bool((x.diff() >= 0).all()) and int(x[-1]) > 0 and int(x[-1]) in set(sizes)


def is_lengths(x: object, sizes: Iterable[int]) -> bool:
    """Whether a tensor may be a table of lengths: integers of one dimension whose sum is one of these sizes."""
    if not isinstance(x, Tensor) or not _whole(x) or x.dim() != 1 or x.numel() < 2:
        return False
    return bool((x >= 0).all()) and int(x.sum()) in set(sizes)


def refit(x: Tensor, old: int, new: int) -> Tensor | None:
    """The tensor with its indices, offsets or lengths fitted to a dimension of ``old`` that becomes ``new``.

    The tensor itself if it has none. None if no number in it would be in range.
    """
    if not plain(x) or not x.numel() or x.dtype == torch.bool or x.is_complex():
        return x
    if x.is_floating_point():
        return _refit_columns(x, old, new)
    low, top = int(x.min()), int(x.max())
    if low < -old or top > old:
        return x
    if top == old:  # ends of ranges: the last one moves with the size
        return _scaled(x, old, new) if new < old or is_offsets(x) else x
    if x.dim() and low >= 0 and x.shape[-1] > 1 and bool((x.sum(-1) == old).all()):
        return _refit_lengths(x, old, new)
    if new >= old or top < new:
        return x if low >= -max(new, 1) else _scaled(x, old, new)
    return _scaled(x, old, new) if new else (None if top >= 0 else x)


def _scaled(x: Tensor, old: int, new: int) -> Tensor:
    """Each number times new / old, rounded down: what was below ``old`` is below ``new``, and what rose still does."""
    wide = x.to(torch.int64)
    scaled = torch.where(wide < 0, wide.clamp(min=-max(new, 1)), wide * new // old)
    return scaled.to(x.dtype)


def _refit_lengths(x: Tensor, old: int, new: int) -> Tensor | None:
    """Lengths whose sum is the new size. They may be indices after all, so each must be below it too."""
    ends = _scaled(x.to(torch.int64).cumsum(-1), old, new)
    lengths = ends.diff(dim=-1, prepend=torch.zeros_like(ends[..., :1]))
    return lengths.to(x.dtype) if int(lengths.max()) < new else None


def _refit_columns(x: Tensor, old: int, new: int) -> Tensor | None:
    """Columns of whole floats may be indices, such as the image of a box."""
    if new >= old or not x.dim() or x.element_size() == 1:  # float8 is not used for indices, and torch has no // for it
        return x
    columns = x.double().reshape(-1, x.shape[-1])
    whole = (columns == columns.floor()).all(0) & (columns.amin(0) >= 0)
    top = columns.amax(0)
    indices = whole & (top >= max(new, 1)) & (top < old)
    if not indices.any():
        return x
    return torch.where(indices, (x.double() * new / old).floor().to(x.dtype), x) if new else None


def resized(x: Tensor, dim: int, old: int, new: int, sizes: Iterable[int]) -> Tensor | None:
    """The tensor with another size along a dimension: rows repeat, and tables stay tables. None for one that cannot."""
    index = torch.arange(new, device=x.device)
    if is_offsets(x):
        index = index.clamp(max=old - 1)
        if 0 < new < old:
            index[-1] = old - 1
    elif is_lengths(x, sizes):
        if new < old:
            return None
        return torch.cat([x, x.new_zeros(new - old)])
    return _same_order(x, x.index_select(dim, index % old))


def _same_order(x: Tensor, resized: Tensor) -> Tensor:
    """The resized tensor with its dimensions in the order in memory that they have in ``x``: a size alone is to change."""
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    if 0 in x.stride() or order == list(range(x.dim())):
        return resized
    back = [order.index(dim) for dim in range(x.dim())]
    return resized.permute(order).contiguous().permute(back)
