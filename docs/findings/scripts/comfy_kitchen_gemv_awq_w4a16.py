import torch
import comfy_kitchen
from torch._subclasses.fake_tensor import FakeTensorMode

x, q = torch.randn(3, 128).bfloat16(), torch.zeros(6, 64, dtype=torch.int8)
scales, bias = torch.ones(2, 6).bfloat16(), torch.zeros(6)  # a bias in float32
real = torch.ops.comfy_kitchen.gemv_awq_w4a16(x, q, scales, scales, bias)
with FakeTensorMode() as mode:
    fake = torch.ops.comfy_kitchen.gemv_awq_w4a16(
        mode.from_tensor(x),
        mode.from_tensor(q),
        mode.from_tensor(scales),
        mode.from_tensor(scales),
        mode.from_tensor(bias),
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
