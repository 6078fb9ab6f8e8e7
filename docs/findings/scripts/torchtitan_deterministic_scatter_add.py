import torch
import torchtitan.ops.scatter_add

out, index, src = torch.zeros(256, 7).t(), torch.zeros(7, 256, dtype=torch.int64), torch.ones(7, 256)
print("real", torch.ops.torchtitan.deterministic_scatter_add(out, index, src).stride())
meta = [one.to("meta") for one in (out, index, src)]
print("fake", torch.ops.torchtitan.deterministic_scatter_add(*meta).stride())
