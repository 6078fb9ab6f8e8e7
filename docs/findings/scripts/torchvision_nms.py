import torch
import torchvision
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

boxes, scores = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9]]), torch.tensor([0.9, 0.8])
print("real keeps", len(torchvision.ops.nms(boxes, scores, 0.5)))
with FakeTensorMode(shape_env=ShapeEnv()) as mode:
    kept = torch.ops.torchvision.nms(mode.from_tensor(boxes), mode.from_tensor(scores), 0.5)
print("fake keeps at least", mode.shape_env.var_to_range[kept.shape[0].node.expr].lower)
