import torch
import physicsnemo.nn.functional.derivatives.mesh_lsq_gradient
from torch._subclasses.fake_tensor import FakeTensorMode

points, values = torch.randn(7, 3), torch.randn(7, 2)  # two values a point
offsets, neighbors = torch.arange(8, dtype=torch.int32), torch.arange(7, dtype=torch.int32).roll(1)
real = torch.ops.physicsnemo.mesh_lsq_gradient_warp_impl(points, values, offsets, neighbors, 2.0, 0, 1e-6, 1e-12)
with FakeTensorMode() as mode:
    fake = torch.ops.physicsnemo.mesh_lsq_gradient_warp_impl(
        mode.from_tensor(points),
        mode.from_tensor(values),
        mode.from_tensor(offsets),
        mode.from_tensor(neighbors),
        2.0,
        0,
        1e-6,
        1e-12,
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
