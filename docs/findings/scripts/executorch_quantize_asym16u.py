import torch
import executorch.backends.cadence.aot.ops_registrations, executorch.backends.cadence.aot.ref_implementations
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.randn(6, 4).t()
real = torch.ops.cadence.quantize_per_tensor_asym16u(x, 0.1, 0, 0, 65535, torch.uint16)
with FakeTensorMode() as mode:
    fake = torch.ops.cadence.quantize_per_tensor_asym16u(mode.from_tensor(x), 0.1, 0, 0, 65535, torch.uint16)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
