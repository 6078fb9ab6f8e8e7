import torch
import bitsandbytes

A, wide = torch.randn(6, 128), torch.full((256, 2), 7.0)
wide[:, 0] = torch.linspace(-1, 1, 256)
op = torch.ops.bitsandbytes.quantize_blockwise
print("dense", op(A, wide[:, 0].contiguous(), 64)[0][0, :8].tolist())
print("strided", op(A, wide[:, 0], 64)[0][0, :8].tolist())  # the same codebook, a column of a wider tensor
