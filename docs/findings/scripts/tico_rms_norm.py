import torch
import tico

x, weight = torch.randn(7, 5).t(), torch.rand(7)
print("real", torch.ops.circle_custom.rms_norm(x, weight).stride())
print("fake", torch.ops.circle_custom.rms_norm(x.to("meta"), weight.to("meta")).stride())
