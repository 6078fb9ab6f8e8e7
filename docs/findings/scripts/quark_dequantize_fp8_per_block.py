import torch
import quark.torch.kernel
from torch._subclasses.fake_tensor import FakeTensorMode

weight, scale = torch.randn(8, 6).to(torch.float8_e4m3fn).t(), torch.ones(3, 2)  # a transposed weight
real = torch.ops.quark.dequantize_fp8_per_block(weight, scale, [2, 4])
with FakeTensorMode() as mode:
    fake = torch.ops.quark.dequantize_fp8_per_block(mode.from_tensor(weight), mode.from_tensor(scale), [2, 4])
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(out.shape), out.stride(), out.dtype)])
