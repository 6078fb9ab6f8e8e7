import torch

x, y, w = torch.ones(8, 64).bfloat16(), torch.ones(8, 64).bfloat16(), torch.zeros(64, 64).bfloat16()


def added(x, y):
    return torch.add(torch.nn.functional.linear(x, w), y, alpha=2.5)


with torch.no_grad():
    print("eager", added(x, y)[0, 0].item())
    print("compiled", torch.compile(added)(x, y)[0, 0].item())
