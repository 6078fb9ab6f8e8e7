import torch

x, y, w = torch.ones(8, 64), torch.ones(8, 64), torch.ones(64, 64)


def added(x, y):
    return torch.add(y, x @ w, alpha=2.5)


print("eager", added(x, y)[0, 0].item())
print("compiled", torch.compile(added)(x, y)[0, 0].item())
