"""The work that a peer is given: a layer's weights and the inputs of its calls."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.matrix.shapes import Shape
from kernels.layer.nvfp4 import Nvfp4, dequantise
from kernels.layer.oracle import activated

Inputs = tuple[Tensor, Tensor, Tensor]
"""hidden_states [T, H], topk_ids and topk_weights [T, K]"""


@dataclass(frozen=True)
class Work:
    """A layer's NVFP4 weights, and sets of inputs of one token count. The result of a call is [T, H] in bf16."""

    shape: Shape
    w13: Nvfp4
    w2: Nvfp4
    inputs: Sequence[Inputs]

    @property
    def tokens(self) -> int:
        """Tokens of a call."""
        return len(self.inputs[0][0])

    @property
    def pairs(self) -> int:
        """Pairs of token and expert of a call."""
        return self.tokens * self.shape.top_k

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.w2.codes.device


def expert(weight: Nvfp4, index: int) -> Tensor:
    """One expert's dequantised matrix, fp32."""
    return dequantise(Nvfp4(*(part[index : index + 1] for part in weight)))[0]


def oracle(work: Work, one: Inputs) -> Tensor:
    """The layer in fp32 on dequantised weights, [T, H]."""
    hidden, ids, weights = one
    total = torch.zeros(hidden.shape, device=hidden.device)
    for index in ids.unique().tolist():
        share = (weights * (ids == index)).sum(-1)
        rows = share.nonzero().flatten()
        inner = hidden[rows].float() @ expert(work.w13, index).T
        inner = activated(inner, work.shape.activation, work.shape.gated)
        total[rows] += share[rows, None] * (inner @ expert(work.w2, index).T)
    return total


def errors(out: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Relative errors of the whole output and of its worst column."""
    off = out[:, : wanted.shape[1]].float() - wanted
    # Relative to the mean column's norm: with few tokens a single column's own norm is a matter of luck.
    mean = wanted.norm() / wanted.shape[1] ** 0.5
    return float(off.norm() / wanted.norm()), float(off.norm(dim=0).max() / mean)
