import torch
import physicsnemo.nn.functional.rendering.line_integral_convolution
from torch._subclasses.fake_tensor import FakeTensorMode

field, seed = torch.randn(4, 5, 6, 3), torch.rand(4, 6, 5).transpose(1, 2)
real = torch.ops.physicsnemo.line_integral_convolution_warp(field, seed)
with FakeTensorMode() as mode:
    fake = torch.ops.physicsnemo.line_integral_convolution_warp(mode.from_tensor(field), mode.from_tensor(seed))
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
