"""TensorMeta: a tensor's metadata, real or fake, without its values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

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
        return cls(
            shape=tuple(_size(size) for size in tensor.shape),
            stride=tuple(_size(step) for step in tensor.stride()),
            offset=_size(tensor.storage_offset()),
            dtype=str(tensor.dtype).removeprefix("torch."),
            device=tensor.device.type,
            contiguous=_dense_rows(tensor),
        )

    @property
    def width(self) -> Size:
        """The last dimension's size; 0 for a scalar."""
        return self.shape[-1] if self.shape else 0

    def __str__(self) -> str:
        return f"{self.dtype}{bracket(self.shape)} stride {bracket(self.stride)}"


def _size(value: Any) -> Size:
    if type(value) is int:
        return value
    text = str(value)  # a symbol that the trace has fixed is shown as its number, and is one
    return int(text) if isinstance(value, int) or text.lstrip("-").isdigit() else text


def bracket(sizes: Sequence[Size]) -> str:
    """Sizes as a message shows them: ``[7, 2688]``."""
    return f"[{', '.join(map(str, sizes))}]"


def _dense_rows(tensor: Tensor) -> bool:
    """Whether the tensor is contiguous. Compares symbolic sizes as text, since ``==`` on them would add a guard."""
    if all(type(size) is int for size in (*tensor.shape, *tensor.stride())):
        return tensor.is_contiguous()
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
