import torch

lib = torch.library.Library("shown_affine", "DEF")
lib.define("affine(Tensor x, Tensor? scale, Tensor? shift) -> Tensor")
lib.define("affine.out(Tensor x, Tensor? scale, Tensor? shift, *, Tensor(a!) out) -> Tensor(a!)", tags=torch.Tag.out)


def affine(x, scale, shift):
    scaled = x if scale is None else x * scale
    return scaled.clone() if shift is None else scaled + shift


lib.impl("affine", affine, "CompositeExplicitAutograd")
lib.impl("affine.out", lambda x, scale, shift, *, out: out.copy_(affine(x, scale, shift)), "CompositeExplicitAutograd")
shifted = torch.compile(lambda x, shift: torch.ops.shown_affine.affine(x, None, shift))
print("eager", affine(torch.ones(3) * 3, None, torch.ones(3) * 5)[0].item())
print("compiled", shifted(torch.ones(3) * 3, torch.ones(3) * 5)[0].item())
