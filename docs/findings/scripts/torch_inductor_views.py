import torch

lib = torch.library.Library("shown_views", "DEF")
lib.define("fill(Tensor(a!) first, Tensor(b!) second, Tensor x) -> ()")
lib.impl("fill", lambda first, second, x: (first.copy_(x), second.copy_(x)) and None, "CPU")
torch.library.register_fake("shown_views::fill", lambda first, second, x: None, lib=lib)


def second_of_two(workspace, x):
    first, second = (workspace[at : at + 256].view(torch.float32).view(4, 16) for at in (0, 256))
    torch.ops.shown_views.fill(first, second, x)
    return second * 2


for side, function in ("eager", second_of_two), ("compiled", torch.compile(second_of_two)):
    workspace = torch.zeros(1024, dtype=torch.uint8)
    print(side, function(workspace, torch.ones(4, 16))[0, 0].item(), end=", ")
    print("first elements that were written", workspace.view(torch.float32).nonzero().flatten()[::64].tolist())
