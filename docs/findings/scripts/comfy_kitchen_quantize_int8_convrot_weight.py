import torch
import comfy_kitchen
from torch._subclasses.fake_tensor import FakeTensorMode

weight = torch.randn(256, 6).t()
real = torch.ops.comfy_kitchen.quantize_int8_convrot_weight(weight, 64)
with FakeTensorMode() as mode:
    fake = torch.ops.comfy_kitchen.quantize_int8_convrot_weight(mode.from_tensor(weight), 64)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
