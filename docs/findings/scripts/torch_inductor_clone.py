import torch

buffer = torch.zeros(8, 4)


def first_of_two(f):
    first = f(torch.ones(3, 4))
    f(torch.full((3, 4), 2.0))
    return first[0, 0].item()


def copied(x):
    return (buffer[:3].copy_(x), buffer[:3].clone())[1]


print("eager", first_of_two(copied))
print("compiled", first_of_two(torch.compile(copied)))
