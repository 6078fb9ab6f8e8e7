"""Fresh memory: deterministic mode fills it with NaN. torch cannot do that for every dtype, float4 for one, and then raises.

The harness asked for the filling, not the layer, so whatever raises for that reason is run once more without it.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor

# glibc's mallopt: the option's number, and bytes. Blocks above the first limit still go back to the system at once: a case
# of true size needs what the one before it had.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = (-3, 2**28), (-1, 2**30)
_CANNOT_FILL = '"fill_empty_deterministic_" not implemented'


def call_filled(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns, with fresh memory filled where torch can fill it."""
    try:
        return function(*args, **kwargs)
    except Exception as error:  # a compiler wraps it: Inductor makes such memory on CUDA
        if _CANNOT_FILL not in str(error):
            raise
    with _unfilled():
        return function(*args, **kwargs)


def copy_of(tensor: Tensor) -> Tensor:
    """A copy of a tensor of any dtype; None for an optional input that is absent."""
    copy: Tensor = tensor if tensor is None else call_filled(tensor.clone)
    return copy


@cache
def reuse_freed_memory() -> None:
    """Let malloc hold on to freed blocks, where it is glibc's.

    Each verdict copies and frees the same megabytes of weights. Getting zeroed pages for them from the system each time
    takes a seventh of a verdict.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(option, size)


def overwrite_with_garbage(tensor: Tensor) -> None:
    """Fill a tensor with what deterministic mode puts into fresh memory: NaN, the largest integer, or True."""
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.fill_(torch.nan)
    elif tensor.dtype == torch.bool:
        tensor.fill_(True)
    else:
        tensor.fill_(torch.iinfo(tensor.dtype).max)


@contextmanager
def filled_where_possible(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Fresh memory is filled inside the block, unless one of these tensors has a dtype that torch cannot fill.

    For a capture, where what raised cannot be run once more.
    """
    dtypes = {(tensor.dtype, tensor.device.type) for tensor in tensors}
    with nullcontext() if all(_can_fill(*one) for one in dtypes) else _unfilled():
        yield


def _can_fill(dtype: torch.dtype, device: str) -> bool:
    try:
        torch.empty(0, dtype=dtype, device=device)
    except NotImplementedError as error:
        if _CANNOT_FILL not in str(error):
            raise
        return False
    return True


@contextmanager
def _unfilled() -> Iterator[None]:
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before
