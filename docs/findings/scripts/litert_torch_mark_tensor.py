import torch
import litert_torch.backend.composite.mark_tensor
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.randn(4, 8)[:, :6]
real = torch.ops.litert_torch.mark_tensor(x, "name", 0, "id", True)
with FakeTensorMode() as mode:
    fake = torch.ops.litert_torch.mark_tensor(mode.from_tensor(x), "name", 0, "id", True)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(out.shape), out.stride(), out.dtype)])
