import torch
import comfy_kitchen
from torch._subclasses.fake_tensor import FakeTensorMode

x, scale = torch.randn(2, 8, 5).transpose(1, 2), torch.randn(2, 1, 8)
real = torch.ops.comfy_kitchen.rms_adaln(x, scale, scale, 1e-6)
with FakeTensorMode() as mode:
    fake = torch.ops.comfy_kitchen.rms_adaln(
        mode.from_tensor(x), mode.from_tensor(scale), mode.from_tensor(scale), 1e-6
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
