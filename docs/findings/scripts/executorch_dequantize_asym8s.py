import torch
import executorch.backends.cadence.aot.ops_registrations, executorch.backends.cadence.aot.ref_implementations
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.ones(6, 4, dtype=torch.int8).t()
real = torch.ops.cadence.dequantize_per_tensor_asym8s(x, 0.1, 0, -128, 127, torch.int8)
with FakeTensorMode() as mode:
    fake = torch.ops.cadence.dequantize_per_tensor_asym8s(mode.from_tensor(x), 0.1, 0, -128, 127, torch.int8)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
