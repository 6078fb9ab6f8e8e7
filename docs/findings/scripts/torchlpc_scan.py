import os
import torch
import torchlpc

for name, size in ("short", 1000), ("long", 4_000_000):  # samples of one signal
    child = os.fork()
    if not child:
        torch.ops.torchlpc.scan(torch.randn(1, size), torch.rand(1, size), torch.zeros(1))
        os._exit(0)
    print(name, "ends with signal", os.waitpid(child, 0)[1])
