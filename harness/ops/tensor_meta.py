"""TensorMeta: a tensor's metadata, real or fake, without its values."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, dtype

Size = int | str


@dataclass(frozen=True, slots=True)
class TensorMeta:
    """A tensor's metadata. Sizes, strides and offset in elements; a symbolic size is its expression as text."""

    shape: tuple[Size, ...]
    stride: tuple[Size, ...]
    offset: Size
    dtype: str
    device: str
    contiguous: bool

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """The metadata of a real or fake tensor. Adds no guard on a symbolic size."""
        shape, stride, offset = tensor.shape, tensor.stride(), tensor.storage_offset()
        kind = _name(tensor.dtype), tensor.device.type
        if all(type(size) is int for size in (*shape, *stride, offset)):
            return cls(tuple(shape), stride, int(offset), *kind, tensor.is_contiguous())
        sizes, steps = tuple(map(_size, shape)), tuple(map(_size, stride))
        return cls(sizes, steps, _size(offset), *kind, _dense_rows(tensor))

    @property
    def width(self) -> Size:
        """The last dimension's size; 0 for a scalar."""
        return self.shape[-1] if self.shape else 0

    @property
    def itemsize(self) -> int:
        """The size of an element in bytes."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype}{bracket(self.shape)} stride {bracket(self.stride)}"


@cache
def _name(kind: dtype) -> str:
    return str(kind).removeprefix("torch.")


def _size(value: Any) -> Size:
    if type(value) is int:
        return value
    text = str(value)  # a symbol that the trace has fixed is shown as its number, and is one
    return int(text) if isinstance(value, int) or text.lstrip("-").isdigit() else text


def bracket(sizes: Sequence[Size]) -> str:
    """Sizes as a message shows them: ``[7, 2688]``."""
    return f"[{', '.join(map(str, sizes))}]"


def _dense_rows(tensor: Tensor) -> bool:
    """Whether a tensor of symbolic sizes is contiguous. Compares them as text, since ``==`` would add a guard."""
    if any(size == 0 for size in tensor.shape if isinstance(size, int)):
        return True
    expected: Any = 1
    for size, step in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if isinstance(size, int) and size == 1:
            continue
        if str(step) != str(expected):
            return False
        expected = expected * size
    return True
