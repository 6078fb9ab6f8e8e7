"""Humming with fp8 activations: other arithmetic than the kernel's, so that its times are shown apart.

On Hopper it multiplies rows of E4M3 by weights of MXFP4. It takes no NVFP4 weights there: their groups of 16 columns are less
than a product of 8 bits spans. The layer keeps its codes; each group of 32 columns gets one power of two for its two scales.
Rows are rounded with a scale for each token, those of the second product together with the activation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.benchmark.benchmark import Apart, Peer
from kernels.layer.nvfp4 import Nvfp4, e2m1_values, unpack
from kernels.layer.oracle import Rounding, routed_output
from kernels.triton.peers.humming_form import Form, Rows, compiled, kinds, needed
from kernels.triton.peers.humming_layer import Layer
from kernels.triton.peers.work import Inputs, Work

_PADDING = (128, 128)
_GROUP = 32
_E4M3_MAX = 448.0
# A sum that differs in its last bits can round to another value of E4M3, which is up to an eighth away. Hopper's sums of fp8
# products have fewer bits than fp32. As measured on an H200 in two runs, the whole error is at most 0.0232 for one token,
# 0.0205 for 8 and 0.0171 for 64 and more. A rounding that is left out costs 0.023 or more, so from 64 tokens on the bound lies
# in between. With fewer tokens there are too few values for that: the bound has a quarter more than was seen. The worst
# column's error, measured in one of those runs, is at most 0.1003 for fewer than 64 tokens, which is 4.4 times the whole one,
# and at most 0.0354 from 64 on, 2.4 times the whole one. Its bounds have two fifths more than was seen, about as much as those
# factors make of the whole bounds.
_MANY, _BOUNDS, _BOUNDS_OF_MANY = 64, (3e-2, 1.4e-1), (2e-2, 5e-2)
# Activations in C, of ``a``, and of gate ``a`` and up ``b``.
_POINT = {
    "silu": "a / (1.0f + expf(-a))",
    "gelu-tanh": "0.5f * a * (1.0f + tanhf(0.7978845608f * (a + 0.044715f * a * a * a)))",
    "relu2": "fmaxf(a, 0.0f) * fmaxf(a, 0.0f)",
}
_CLAMPED = "fminf(a, 7.0f) / (1.0f + expf(-1.702f * fminf(a, 7.0f))) * (fminf(fmaxf(b, -7.0f), 7.0f) + 1.0f)"


def forms(work: Work) -> Sequence[Peer]:
    """Humming's ways to do this work with fp8 activations: indexed or grouped rows. Raises NotInstalled."""
    needed()
    layer = Fp8Layer(work, _PADDING)
    return compiled([Fp8Form(layer, rows, bounds(work.tokens)) for rows in kinds(work)])


def bounds(tokens: int) -> tuple[float, float]:
    """Bounds on the relative error of the whole output and of its worst column."""
    return _BOUNDS_OF_MANY if tokens >= _MANY else _BOUNDS


def apart(work: Work) -> Apart:
    """The peer, with what it computes."""
    return Apart(
        "MXFP4 weights by fp8 activations (W4A8), checked against an oracle that rounds as it does", lambda: forms(work)
    )


class Fp8Layer(Layer):
    """MXFP4 weights for rows of E4M3."""

    @property
    def schemas(self) -> tuple[Any, Any]:
        """What Humming is told of weights and of rows."""
        from humming.schema import HummingInputSchema, HummingWeightSchema

        weights = HummingWeightSchema(b_dtype="float4e2m1", bs_dtype="float8e8m0", weight_scale_group_size=_GROUP)
        return weights, HummingInputSchema(a_dtype="float8e4m3", input_scale_group_size=0)

    def tensors(self, weight: Nvfp4) -> dict[str, Tensor]:
        """A weight by Humming's names. It keeps its own copy of codes, since Humming may change them in place.

        Humming gives padded rows a scale of one, and keeps 11 powers of two below the largest scale. So the largest one is
        one here too, and a matrix has another factor.
        """
        powers = exponents(weight)
        largest = powers.amax((1, 2))
        bits = (powers - largest[:, None, None] + 127).clamp(min=0).to(torch.uint8)
        return {
            "weight": weight.codes.clone().view(torch.int32),
            "weight_scale": bits.view(torch.float8_e8m0fnu),
            "weight_scale_2": torch.exp2(largest),
        }

    def oracle(self, one: Inputs) -> Tensor:
        """The layer in fp32 on its own weights, rounded where Humming rounds."""
        shape, rounding = self.work.shape, Rounding(to_e4m3, lambda rows: rows.bfloat16().float(), to_e4m3)
        hidden, ids, weights = one
        return routed_output(hidden.float(), ids, weights, self.expert, shape.activation, shape.gated, rounding)

    def expert(self, index: int) -> tuple[Tensor, Tensor]:
        """One expert's matrices, fp32."""
        first, second = (matrix(Nvfp4(*(part[index] for part in one))) for one in (self.work.w13, self.work.w2))
        return first, second


class Fp8Form(Form):
    """One way to do the work on rows of E4M3."""

    def entered(self, rows: Tensor) -> Rows:
        """The layer's rows in E4M3, and a scale for each."""
        return self._rounded(0, rows)

    def activated(self, first: Tensor) -> Rows:
        """The first product's rows activated and rounded, in one launch."""
        shape = self.layer.work.shape
        kind = "binary_split" if shape.gated else "unary"
        return self._rounded(1, first, activation_type=kind, activation_impl=in_c(shape.activation, shape.gated))

    def _rounded(self, which: int, rows: Tensor, **activation: str) -> Rows:
        from humming.forward import may_process_input

        values, _, scales = may_process_input(self.layer.configs[which], rows, use_pdl=False, **activation)
        return values, scales


def exponents(weight: Nvfp4) -> Tensor:
    """For each group of 32 columns the power of two nearest to the mean of its two scales, fp32 [..., N, K/32]."""
    scales = weight.scales.view(torch.float8_e4m3fn).float() / weight.global_scale[..., None, None]
    powers: Tensor = scales.unflatten(-1, (-1, 2)).mean(-1).clamp(min=2.0**-100).log2().round()
    return powers


def matrix(weight: Nvfp4) -> Tensor:
    """fp32 [..., N, K]: the codes by those powers of two."""
    values = e2m1_values(weight.codes.device)[unpack(weight.codes).int()]
    return values * torch.exp2(exponents(weight)).repeat_interleave(_GROUP, -1)


def to_e4m3(rows: Tensor) -> Tensor:
    """Each row by its own scale to E4M3 and back, fp32."""
    scale = (rows.abs().amax(-1, keepdim=True) / _E4M3_MAX).clamp(min=1e-30)
    return (rows / scale).to(torch.float8_e4m3fn).float() * scale


def in_c(activation: str, gated: bool) -> str:
    """The activation as an expression of C."""
    if activation == "clamped-swiglu":
        return _CLAMPED
    return f"({_POINT[activation]}) * b" if gated else _POINT[activation]
