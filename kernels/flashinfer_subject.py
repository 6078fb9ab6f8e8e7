"""The padded layer with FlashInfer's NVFP4 kernels in it, a subject for each backend."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from harness.case import Case
from harness.errors import Skip
from kernels.flashinfer_backends import CUTILE, CUTLASS, TRTLLM, Backend, missing, refused
from kernels.flashinfer_experts import OP, flashinfer_experts
from kernels.layer import PaddedMoELayer
from kernels.subject import InTree
from kernels.weights import Experts


class FlashInferLayer(PaddedMoELayer):
    """The layer whose experts' buffers are in the backend's layout, under the same names."""

    op = staticmethod(flashinfer_experts.overload)
    backend = ""
    intermediate = 0

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        """[T, padded] to [T, out_width]."""
        widths = self.intermediate, self.out_width
        out: Tensor = self.op(x, topk_ids, topk_weights, *self.op_weights(), self.backend, self.activation, *widths)
        return out


class FlashInfer(InTree):
    """The in-tree layer on one of FlashInfer's kernels."""

    layer = FlashInferLayer
    backend: ClassVar[Backend]

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        """A layer that shares no memory with another one. Raises Skip where the kernel cannot run."""
        if why := missing(self.backend, device) or refused(self.backend, case):
            raise Skip(why)
        layer = super().build(case, device)
        assert isinstance(layer, FlashInferLayer)
        layer.backend, layer.intermediate = self.backend.name, case.padded_intermediate
        return layer

    def experts(self, case: Case, device: torch.device) -> Experts:
        """The case's routed experts, padded by its alignment rule and then prepared."""
        return self.backend.prepare(super().experts(case, device), case.gated)

    def ops(self, case: Case) -> Sequence[str]:
        """FlashInfer's op."""
        return (OP,)


class Trtllm(FlashInfer):
    """TensorRT-LLM's generated kernels."""

    name = "flashinfer-trtllm"
    backend = TRTLLM


class Cutlass(FlashInfer):
    """CUTLASS."""

    name = "flashinfer-cutlass"
    backend = CUTLASS


class Cutile(FlashInfer):
    """cuTile, with bf16 activations."""

    name = "flashinfer-cutile"
    backend = CUTILE
