import torch
import comfy_kitchen
from torch._subclasses.fake_tensor import FakeTensorMode

q = torch.randn(1, 2, 4, 4, 4, 32).bfloat16().movedim(1, 4)  # heads laid out before space
real = torch.ops.comfy_kitchen.na3d(q, q, q, [3, 3, 3], [False] * 3, None)
with FakeTensorMode() as mode:
    fake = torch.ops.comfy_kitchen.na3d(
        mode.from_tensor(q), mode.from_tensor(q), mode.from_tensor(q), [3, 3, 3], [False] * 3, None
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
