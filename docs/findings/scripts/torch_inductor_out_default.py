import torch

lib = torch.library.Library("shown_scaled", "DEF")
lib.define("scaled(Tensor x, float factor=2.0) -> Tensor")
lib.define("scaled.out(Tensor x, float factor=2.0, *, Tensor(a!) out) -> Tensor(a!)", tags=torch.Tag.out)
lib.impl("scaled", lambda x, factor=2.0: x * factor, "CompositeExplicitAutograd")
lib.impl("scaled.out", lambda x, factor=2.0, *, out: out.copy_(x * factor), "CompositeExplicitAutograd")
print("eager", torch.ops.shown_scaled.scaled(torch.ones(3))[0].item())
try:
    print("compiled", torch.compile(lambda x: torch.ops.shown_scaled.scaled(x))(torch.ones(3))[0].item())
except RuntimeError as error:
    print("compiled", error)
