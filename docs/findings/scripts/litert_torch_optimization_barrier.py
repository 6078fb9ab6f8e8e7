import torch
import litert_torch.backend.optimization_barrier
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.randn(4, 8)[:, :6]
real = torch.ops.litert_torch.optimization_barrier([x])[0]
with FakeTensorMode() as mode:
    fake = torch.ops.litert_torch.optimization_barrier([mode.from_tensor(x)])[0]
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(out.shape), out.stride(), out.dtype)])
