"""The padded layer with the Triton kernel. On a CPU it needs Triton's interpreter, which is slow."""

import os
from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

from harness.base.errors import Skip
from harness.matrix.case import Case
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.nvfp4 import Nvfp4
from kernels.layer.subject import InTree
from kernels.layer.weights import Experts
from kernels.triton.experts import OP, triton_experts
from kernels.triton.pack import pack_matrices


class TritonLayer(PaddedMoELayer):
    """The layer whose experts' buffers are in the kernel's layout, under the same names."""

    op = staticmethod(triton_experts.overload)
    intermediate = 0

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        """[T, padded] to [T, out_width]."""
        weights = self.op_weights()
        out: Tensor = self.op(x, topk_ids, topk_weights, *weights, self.activation, self.intermediate, self.out_width)
        return out


class Triton(InTree):
    """The in-tree layer on the Triton kernel."""

    name = "triton"
    layer = TritonLayer

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        """A layer that shares no memory with another one. Raises Skip where the kernel cannot run."""
        if why := missing(device):
            raise Skip(why)
        layer = super().build(case, device)
        assert isinstance(layer, TritonLayer)
        layer.intermediate = case.padded_intermediate
        return layer

    def prepared(self, case: Case, w13: Nvfp4, w2: Nvfp4) -> Experts:
        """Quantised experts, one or all of them, padded and then in the kernel's layout."""
        plain = super().prepared(case, w13, w2)
        first = pack_matrices(Nvfp4(plain.w13, plain.w13_scale, plain.w13_global_scale))
        second = pack_matrices(Nvfp4(plain.w2, plain.w2_scale, plain.w2_global_scale))
        return Experts(first.words, first.scales, first.decode, second.words, second.scales, second.decode)

    def ops(self, case: Case) -> Sequence[str]:
        """The Triton op."""
        return (OP,)


def missing(device: torch.device) -> str:
    """Why the kernel cannot run on this device, or an empty string."""
    if find_spec("triton") is None:
        return "triton is not installed"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "Triton compiles for a GPU; on a CPU set TRITON_INTERPRET=1"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return "the Triton kernel needs compute capability 8.0"
    return ""
