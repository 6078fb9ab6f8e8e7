import torch
import quark.torch.kernel
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.randn(64, 6).t()
real = torch.ops.quark.non_scaled_fake_quantize(x, "mx", "fp4", -1, 32)
with FakeTensorMode() as mode:
    fake = torch.ops.quark.non_scaled_fake_quantize(mode.from_tensor(x), "mx", "fp4", -1, 32)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(out.shape), out.stride(), out.dtype)])
