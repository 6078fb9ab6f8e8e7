"""The bytes of a tensor's values."""

import torch
from torch import Tensor


def bytes_of(tensor: Tensor) -> Tensor:
    """The bytes of its values in their order, uint8 [numel x itemsize]."""
    whole = tensor.detach().contiguous()
    # torch calls one value contiguous whatever its stride, as in a column of one row, and ``reshape`` keeps that stride.
    return whole.as_strided((whole.numel(),), (1,)).view(torch.uint8)
