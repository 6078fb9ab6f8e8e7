import torch
import fms_mo.aiu_addons.fp8.fp8_spyre_op

query, key, scale = torch.randn(2, 3, 5, 16), torch.randn(2, 3, 16, 8), torch.ones(1)  # batch, heads
print("real", list(torch.ops.spyre.scaled_bmm(query, key, scale, scale, torch.float32).shape))
meta = [one.to("meta") for one in (query, key, scale, scale)]
print("fake", list(torch.ops.spyre.scaled_bmm(*meta, torch.float32).shape))
