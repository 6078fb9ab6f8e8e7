import torch
import executorch.backends.cadence.aot.ops_registrations, executorch.backends.cadence.aot.ref_implementations
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.ones(6, 4, dtype=torch.int8).t()
one, zero = torch.ones(1), torch.zeros(1, dtype=torch.int32)
real = torch.ops.cadence.requantize(x, one, zero, one, zero, torch.int8)
with FakeTensorMode() as mode:
    fake = torch.ops.cadence.requantize(
        mode.from_tensor(x),
        mode.from_tensor(one),
        mode.from_tensor(zero),
        mode.from_tensor(one),
        mode.from_tensor(zero),
        torch.int8,
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
