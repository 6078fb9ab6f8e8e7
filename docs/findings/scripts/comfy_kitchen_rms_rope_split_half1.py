import torch
import comfy_kitchen
from torch._subclasses.fake_tensor import FakeTensorMode

q = torch.randn(2, 5, 4, 64).bfloat16().transpose(1, 2)  # heads before tokens, as attention has them
freqs, scale = torch.randn(1, 1, 5, 32, 2, 2), torch.ones(64).bfloat16()
real = torch.ops.comfy_kitchen.rms_rope_split_half1(q, freqs, scale)
with FakeTensorMode() as mode:
    fake = torch.ops.comfy_kitchen.rms_rope_split_half1(
        mode.from_tensor(q), mode.from_tensor(freqs), mode.from_tensor(scale)
    )
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(x.shape), x.stride(), x.dtype) for x in (out if isinstance(out, tuple) else (out,))])
