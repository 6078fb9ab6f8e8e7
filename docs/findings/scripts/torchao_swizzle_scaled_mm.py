import torch
import torchao.ops
from torch._subclasses.fake_tensor import FakeTensorMode

print("schema", str(torch.ops.torchao.swizzle_scaled_mm.default._schema).partition("scale_b, ")[2])
with FakeTensorMode():
    x, scale = torch.empty(16, 16), torch.empty(16, 1)
    try:
        torchao.ops.swizzle_scaled_mm(x, x, False, False, scale, scale, None, None, None)
        print("fake", "takes the defaults, which the dispatcher leaves out")
    except TypeError as error:
        print("fake", error)
