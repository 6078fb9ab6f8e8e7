import torch
import comfy_kitchen
from torch._subclasses.fake_tensor import FakeTensorMode

x, weight = torch.randn(1, 32, 3, 6, 6).half(), torch.randn(8, 32, 3, 3, 3).half()
residual = torch.randn(1, 8, 1, 4, 4)  # float32
real = torch.ops.comfy_kitchen.fp16_conv3d(x, weight, None, residual, [1, 1, 1])
with FakeTensorMode() as mode:
    fake = torch.ops.comfy_kitchen.fp16_conv3d(
        mode.from_tensor(x), mode.from_tensor(weight), None, mode.from_tensor(residual), [1, 1, 1]
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
