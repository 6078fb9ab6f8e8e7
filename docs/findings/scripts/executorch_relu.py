import torch
import executorch.backends.cadence.aot.ops_registrations, executorch.backends.cadence.aot.ref_implementations
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.ones(6, 4, dtype=torch.int8).t()
zero, half = torch.zeros(1, dtype=torch.int32), torch.full((1,), 1 << 30, dtype=torch.int32)
real = torch.ops.cadence.quantized_relu(x, zero, 0, half, zero)
with FakeTensorMode() as mode:
    fake = torch.ops.cadence.quantized_relu(
        mode.from_tensor(x), mode.from_tensor(zero), 0, mode.from_tensor(half), mode.from_tensor(zero)
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
