"""The weights of a block: random, but for the router's, which must choose the same experts in every order of summation."""

import math

import torch
from torch import nn

from harness.engines.transformers.blocks import BLOCKS
from harness.matrix.case import Case

_SEED = 2026


def fill(block: nn.Module, family: str, case: Case) -> None:
    """Fill every parameter and buffer in place, from one seed.

    Row e of the router's weight reads column e of hidden_states and nothing else; where there are more experts than columns,
    the others read the columns negated. The logits are then exact in bf16, while a random weight would make near-ties,
    which the block and its oracle may round apart.
    """
    generator = torch.Generator().manual_seed(_SEED)
    router = f"{BLOCKS[family].router}.weight"
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        values = _router(case) if name == router else _random(tuple(tensor.shape), name, generator)
        values = values.to(
            tensor.device, tensor.dtype if name.startswith("gate.") and family == "nemotron_h" else torch.bfloat16
        )
        _put(block, name, values)


def _put(block: nn.Module, name: str, values: torch.Tensor) -> None:
    path, _, last = name.rpartition(".")
    module = block.get_submodule(path)
    if last in module._buffers:
        module._buffers[last] = values
    else:
        setattr(module, last, nn.Parameter(values, requires_grad=False))


def _router(case: Case) -> torch.Tensor:
    eye = torch.eye(case.hidden)
    rows: torch.Tensor = torch.cat([eye, -eye])[: case.experts]
    return rows


def _random(shape: tuple[int, ...], name: str, generator: torch.Generator) -> torch.Tensor:
    """Values of a size that keeps a product near one; a bias is smaller, and the correction of scores is none."""
    if name.endswith("e_score_correction_bias"):
        return torch.zeros(shape)
    if name.endswith("bias"):
        return torch.randn(shape, generator=generator) / 8
    return torch.randn(shape, generator=generator) / math.sqrt(min(shape[-2:]))
