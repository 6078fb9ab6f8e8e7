"""Whether a tensor is finite."""

import torch
from torch import Tensor


def all_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite. The sum shows it in one pass; only where that overflows, every element is tested."""
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(torch.isfinite(tensor).all())
