"""What a kernel with NVFP4 activations rounds, for its oracle: by comparisons on fp32 values, without any code of the format."""

import torch
from torch import Tensor

from kernels.layer.oracle import Step

_BLOCK = 16
# Sizes are 0, 0.5, 1, 1.5, 2, 3, 4 and 6. Halfway to the next a value gains the step to it, at every other one of them
# only above halfway, for ties go to the even code.
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
        # What a scale leaves of a value, which is nothing where there is no scale.
        left = torch.where(scale > 0, blocks * global_scale / scale, 0.0)
        size, found = left.abs(), torch.zeros_like(left)
        for bound, step in _ABOVE:
            found += (size > bound) * step
        for bound, step in _FROM:
            found += (size >= bound) * step
        rounded: Tensor = found * left.sign() * scale / global_scale
        return rounded.flatten(-2)

    return rounds
