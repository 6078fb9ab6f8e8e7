import torch
import bitsandbytes

A, (B, absmax) = (
    torch.randn(4, 128).bfloat16(),
    torch.ops.bitsandbytes.quantize_4bit(torch.randn(32, 128), 64, "nf4", torch.uint8),
)
code = bitsandbytes.functional.get_4bit_type("nf4", device="cpu")
for name, x in ("dense", A), ("permuted", A.t().contiguous().t()):  # the same values
    print(name, torch.ops.bitsandbytes.gemv_4bit(x, B, [32, 128], absmax, code, 64)[0, :4].tolist())
