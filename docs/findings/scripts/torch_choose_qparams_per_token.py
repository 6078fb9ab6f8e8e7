import torch
import torch.ao.quantization.fx._decomposed
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.randn(6, 4)
real = torch.ops.quantized_decomposed.choose_qparams_per_token(x, torch.int8)
with FakeTensorMode() as mode:
    fake = torch.ops.quantized_decomposed.choose_qparams_per_token(mode.from_tensor(x), torch.int8)
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
