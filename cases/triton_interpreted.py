"""Checks of the Triton kernel, for a process that has TRITON_INTERPRET=1 from its start; prints a JSON line for each."""

import json

import torch
from torch import Tensor

from kernels.nvfp4 import dequantise, quantise
from kernels.oracle import routed_output
from kernels.triton_config import parse
from kernels.triton_launch import routed
from kernels.triton_pack import pack_matrices

# hidden, intermediate, experts, top_k, tokens, activation, gated, out_width, what the ids are, parts of each product
CHECKS = {
    "relu2": (48, 80, 4, 2, 5, "relu2", False, 48, "random", 1),
    "silu-two-steps": (272, 144, 5, 3, 9, "silu", True, 272, "random", 1),
    "split": (272, 80, 3, 2, 3, "silu", True, 272, "random", 2),
    "split-beyond": (528, 32, 3, 2, 3, "relu2", False, 528, "random", 4),
    "one-token": (144, 80, 5, 3, 1, "silu", True, 144, "random", 1),
    "one-token-split": (400, 48, 5, 2, 1, "clamped-swiglu", True, 400, "random", 3),
    "one-token-no-expert": (64, 48, 4, 2, 1, "silu", True, 64, "none", 1),
    "clamped-padded": (128, 128, 3, 2, 20, "clamped-swiglu", True, 160, "random", 1),
    "gelu-narrow": (144, 48, 3, 1, 3, "gelu-tanh", True, 112, "random", 1),
    "one-expert": (64, 48, 4, 1, 37, "relu2", False, 64, "one", 1),
    "half-blocks": (64, 48, 2, 1, 60, "silu", True, 64, "random", 1),
    "no-expert": (64, 48, 4, 2, 6, "silu", True, 64, "none", 1),
    "shared": (64, 48, 4, 2, 6, "silu", True, 64, "shared", 1),
    "no-token": (64, 48, 4, 2, 0, "silu", True, 64, "random", 1),
}


def error(out: Tensor, wanted: Tensor) -> float:
    """The relative error of the worst column, measured against the mean column."""
    off = (out.float() - wanted).norm(dim=0).max()
    return float(off / (wanted.norm() / wanted.shape[1] ** 0.5))


def check(
    hidden: int, inner: int, experts: int, k: int, tokens: int, act: str, gated: bool, out: int, ids: str, split: int
) -> float:
    """The error of one call on fresh random inputs."""
    first = quantise(torch.randn(experts, 2 * inner if gated else inner, hidden) * 0.2)
    second = quantise(torch.randn(experts, hidden, inner) * 0.2)
    x = torch.randn(tokens, hidden).bfloat16()
    weights, chosen = torch.rand(tokens, experts).softmax(-1).topk(k)
    if ids == "one":
        chosen = torch.full_like(chosen, experts - 1)
    plain = tuple(zip(dequantise(first), dequantise(second), strict=True))
    wanted = routed_output(x.float(), chosen, weights, plain.__getitem__, act, gated)
    given, shared = chosen.int(), None
    if ids == "none":
        given[:, 0] = torch.tensor([-1, experts, -1, 99, experts, -5])[:tokens]
        wanted = routed_output(x.float(), chosen, weights * torch.tensor([0, 1]), plain.__getitem__, act, gated)
    if ids == "shared":
        shared = torch.randn(tokens, out).bfloat16()
        wanted = wanted + shared.float()
    got = routed(
        x,
        given,
        weights,
        pack_matrices(first),
        pack_matrices(second),
        intermediate=inner,
        activation=act,
        out_width=out,
        shared=shared,
        config=parse([8 if tokens < 4 else 32, 32, 4, 1, split, 32, 4, 1, split]),
    )
    assert got.shape == (tokens, out)
    assert not got[:, hidden:].any()
    common = min(hidden, out)
    return error(got[:, :common], wanted[:, :common]) if tokens else 0.0


if __name__ == "__main__":
    torch.manual_seed(0)
    for name, arguments in CHECKS.items():
        print(json.dumps({"check": name, "error": check(*arguments)}), flush=True)
