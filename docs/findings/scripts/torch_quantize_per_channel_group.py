import torch
import torch.ao.quantization.fx._decomposed
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.randn(6, 4).t()
s, z = torch.ones(4, 2), torch.zeros(4, 2)
real = torch.ops.quantized_decomposed.quantize_per_channel_group(x, s, z, -8, 7, torch.int8, 3)
with FakeTensorMode() as mode:
    fake = torch.ops.quantized_decomposed.quantize_per_channel_group(
        mode.from_tensor(x), mode.from_tensor(s), mode.from_tensor(z), -8, 7, torch.int8, 3
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
