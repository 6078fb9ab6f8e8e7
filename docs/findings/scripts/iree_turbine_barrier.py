import torch
import iree.turbine.ops.iree

x = torch.randn(7, 300)[:, :256]
print("real", torch.ops.iree.barrier_on_logical_device("1", x).stride())
meta = x.to("meta").as_strided(x.shape, x.stride())
print("fake", torch.ops.iree.barrier_on_logical_device("1", meta).stride())
