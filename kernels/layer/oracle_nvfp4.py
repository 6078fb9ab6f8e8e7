"""Rounding to NVFP4 for the oracle of a kernel that quantises activations: by comparisons, without the format's own code."""

import torch
from torch import Tensor

from kernels.layer.oracle import Step

_BLOCK = 16
# Sizes are 0, 0.5, 1, 1.5, 2, 3, 4 and 6. Each pair is a point halfway between two sizes and the step from one to the
# other. A tie goes to the even code: at the points of _ABOVE to the lower size, at those of _FROM to the higher.
_ABOVE = ((0.25, 0.5), (1.25, 0.5), (2.5, 1.0), (5.0, 2.0))
_FROM = ((0.75, 0.5), (1.75, 0.5), (3.5, 1.0))


def to_bf16(x: Tensor) -> Tensor:
    """fp32 values that bf16 holds."""
    return x.bfloat16().float()


def to_nvfp4(global_scale: float) -> Step:
    """A step that rounds the last dimension's blocks of 16 to what NVFP4 holds under a global scale, ties to even."""

    def rounds(x: Tensor) -> Tensor:
        blocks = x.unflatten(-1, (-1, _BLOCK))
        wanted = blocks.abs().amax(-1, keepdim=True) * (global_scale / 6)
        scale = wanted.clamp(max=448).to(torch.float8_e4m3fn).float()
        # Zero where the scale is zero.
        scaled = torch.where(scale > 0, blocks * global_scale / scale, 0.0)
        size, rounded_size = scaled.abs(), torch.zeros_like(scaled)
        for bound, step in _ABOVE:
            rounded_size += (size > bound) * step
        for bound, step in _FROM:
            rounded_size += (size >= bound) * step
        rounded: Tensor = rounded_size * scaled.sign() * scale / global_scale
        return rounded.flatten(-2)

    return rounds
