import torch
import bitsandbytes
from torch._subclasses.fake_tensor import FakeTensorMode

A, absmax, code = torch.zeros(128, 6, dtype=torch.uint8).t(), torch.ones(12), torch.linspace(-1, 1, 256)
real = torch.ops.bitsandbytes.dequantize_blockwise(A, absmax, code, 64, torch.float32)
with FakeTensorMode() as mode:
    fake = torch.ops.bitsandbytes.dequantize_blockwise(
        mode.from_tensor(A), mode.from_tensor(absmax), mode.from_tensor(code), 64, torch.float32
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
