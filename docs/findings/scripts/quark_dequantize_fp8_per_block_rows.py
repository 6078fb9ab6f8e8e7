import torch
import quark.torch.kernel

torch.use_deterministic_algorithms(True)  # fills memory that nothing wrote with NaN
weight, block = torch.ones(5, 4).to(torch.float8_e4m3fn), [2, 2]
scale = torch.ones(5 // block[0], 4 // block[1])  # the shape that its docstring asks for
out = torch.ops.quark.dequantize_fp8_per_block(weight, scale, block)
print("first row", out[0].tolist())
print("last row", out[-1].tolist())
