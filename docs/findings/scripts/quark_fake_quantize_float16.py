import torch
import quark.torch.kernel
from torch._subclasses.fake_tensor import FakeTensorMode

x = torch.randn(4, 8).half()[:, :6]  # real returns its argument; the schema and the fake say that it is a new tensor
real = torch.ops.torch_guard._fake_quantize_with_dtype_convert(x, "float16")
with FakeTensorMode() as mode:
    fake = torch.ops.torch_guard._fake_quantize_with_dtype_convert(mode.from_tensor(x), "float16")
for side, out in ("real", real), ("fake", fake):
    print(side, [(list(out.shape), out.stride(), out.dtype)])
