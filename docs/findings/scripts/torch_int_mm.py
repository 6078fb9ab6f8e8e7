import torch

row, b = torch.ones(1, 16, dtype=torch.int8), torch.ones(16, 9, dtype=torch.int8)
other = torch.full((6, 9), 7, dtype=torch.int32)  # what lies in the memory that the broadcast call gets
del other
print("dense", torch._int_mm(row.expand(6, 16).contiguous(), b)[:, :4].tolist())
print("broadcast", torch._int_mm(row.expand(6, 16), b)[:, :4].tolist())
