import torch
import comfy_kitchen
from torch._subclasses.fake_tensor import FakeTensorMode

q, scale = torch.ones(256, 6, dtype=torch.int8).t(), torch.ones(6, 1)
real = torch.ops.comfy_kitchen.dequantize_int8_convrot_weight(q, scale, 64)
with FakeTensorMode() as mode:
    fake = torch.ops.comfy_kitchen.dequantize_int8_convrot_weight(mode.from_tensor(q), mode.from_tensor(scale), 64)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
