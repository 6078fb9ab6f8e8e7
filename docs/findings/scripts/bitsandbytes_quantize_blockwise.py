import torch
import bitsandbytes
from torch._subclasses.fake_tensor import FakeTensorMode

A, code = torch.randn(128, 6).t(), torch.linspace(-1, 1, 256)
real = torch.ops.bitsandbytes.quantize_blockwise(A, code, 64)
with FakeTensorMode() as mode:
    fake = torch.ops.bitsandbytes.quantize_blockwise(mode.from_tensor(A), mode.from_tensor(code), 64)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
