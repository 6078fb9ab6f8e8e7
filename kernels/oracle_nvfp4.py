"""What a kernel with NVFP4 activations rounds, for its oracle: by comparisons on fp32 values, without any code of the format."""

import torch
from torch import Tensor

from kernels.oracle import Step

_BLOCK = 16
_SIZES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
# Between two neighbours of _SIZES; a value there goes to the neighbour whose code is even, which is up at every other.
_TO_LOWER, _TO_UPPER = (0.25, 1.25, 2.5, 5.0), (0.75, 1.75, 3.5)


def to_bf16(x: Tensor) -> Tensor:
    """fp32 values that bf16 holds."""
    return x.bfloat16().float()


def to_nvfp4(global_scale: float) -> Step:
    """A step that rounds the last dimension's blocks of 16 to what NVFP4 holds under a global scale, ties to even."""

    def step(x: Tensor) -> Tensor:
        blocks = x.unflatten(-1, (-1, _BLOCK))
        wanted = blocks.abs().amax(-1, keepdim=True) * (global_scale / 6)
        scale = wanted.clamp(max=448).to(torch.float8_e4m3fn).float()
        # What a scale leaves of a value, which is nothing where there is no scale.
        left = torch.where(scale > 0, blocks * global_scale / scale, 0.0)
        place = torch.zeros_like(left, dtype=torch.int32)
        for bound in _TO_LOWER:
            place += left.abs() > bound
        for bound in _TO_UPPER:
            place += left.abs() >= bound
        sizes = torch.tensor(_SIZES, device=x.device)[place]
        rounded: Tensor = sizes * left.sign() * scale / global_scale
        return rounded.flatten(-2)

    return step
