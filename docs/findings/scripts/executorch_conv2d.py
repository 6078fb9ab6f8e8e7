import torch
import executorch.backends.cadence.aot.ops_registrations, executorch.backends.cadence.aot.ref_implementations
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
w, b = torch.randn(5, 3, 3, 3), torch.randn(5)
real = torch.ops.cadence.conv2d(x, w, b, [1, 1], [0, 0], [1, 1], 1)
with FakeTensorMode() as mode:
    fake = torch.ops.cadence.conv2d(
        mode.from_tensor(x), mode.from_tensor(w), mode.from_tensor(b), [1, 1], [0, 0], [1, 1], 1
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
