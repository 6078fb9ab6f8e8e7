import torch
import bitsandbytes
from torch._subclasses.fake_tensor import FakeTensorMode

A = torch.randn(128, 6).half().t()
real = torch.ops.bitsandbytes.int8_vectorwise_quant(A)
with FakeTensorMode() as mode:
    fake = torch.ops.bitsandbytes.int8_vectorwise_quant(mode.from_tensor(A))
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in out if x is not None])
