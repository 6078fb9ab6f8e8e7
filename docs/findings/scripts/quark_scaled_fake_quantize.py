import torch
import quark.torch.kernel
from torch._subclasses.fake_tensor import FakeTensorMode

x, scale, zero = torch.randn(64, 8).t(), torch.full((8,), 0.1), torch.zeros(8, dtype=torch.int32)
rest = 0, 32, -6.0, 6.0, 8, "per_channel", ""
real = torch.ops.quark.scaled_fake_quantize("fp4", x, scale, zero, *rest)
with FakeTensorMode() as mode:
    fake = torch.ops.quark.scaled_fake_quantize("fp4", *map(mode.from_tensor, (x, scale, zero)), *rest)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(out.shape), out.stride(), out.dtype)])
