import torch
import litert_torch._convert.fx_passes.lower_torchao_pass
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.ones(6, 4, dtype=torch.int8).t()
real = torch.ops.litert_torch.quant_composite(x, "quant.dequantize", "")
with FakeTensorMode() as mode:
    fake = torch.ops.litert_torch.quant_composite(mode.from_tensor(x), "quant.dequantize", "")
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(out.shape), out.stride(), out.dtype)])
