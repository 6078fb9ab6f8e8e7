import torch
import tico

x = torch.randn(2, 5, 7, 4)  # NHWC
print("real", torch.ops.circle_custom.instance_norm(x).stride())
print("fake", torch.ops.circle_custom.instance_norm(x.to("meta")).stride())
