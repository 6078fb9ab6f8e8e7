import deepspeed.comm
import torch
import deepspeed.compile.custom_ops
from deepspeed.utils import groups

torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
deepspeed.comm.init_distributed("gloo")
groups._init_tp_mesh_device(tensor_model_parallel_size=1)
x = torch.randn(4, 5).t()  # a partial sum in transposed memory
print("real", torch.ops.autotp.reduce_from_tp_region(x).stride())
print("fake", torch.ops.autotp.reduce_from_tp_region(x.to("meta")).stride())
