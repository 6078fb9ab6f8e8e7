"""The padded layer with FlashInfer's NVFP4 kernels in it, a subject for each backend."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from harness.case import Case
from harness.errors import Skip
from kernels.flashinfer_backends import CUTILE, CUTLASS, TRTLLM, Backend, missing, refused
from kernels.flashinfer_experts import OP, flashinfer_experts
from kernels.flashinfer_weights import INNER_SCALE, INPUT_SCALE
from kernels.layer import PaddedMoELayer
from kernels.oracle import Rounding, exact
from kernels.oracle_nvfp4 import to_bf16, to_nvfp4
from kernels.subject import InTree
from kernels.weights import Experts


def _input(x: Tensor) -> Tensor:
    """The op gets bf16, and makes NVFP4 of it."""
    return to_nvfp4(INPUT_SCALE)(to_bf16(x))


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
    """TensorRT-LLM's generated kernels. They are closed code: that nothing is rounded before the intermediate is, is assumed."""

    name = "flashinfer-trtllm"
    backend = TRTLLM
    rounding = Rounding(_input, exact, to_nvfp4(INNER_SCALE))


class Cutlass(FlashInfer):
    """CUTLASS, whose first product and activation pass through bf16."""

    name = "flashinfer-cutlass"
    backend = CUTLASS
    rounding = Rounding(_input, to_bf16, lambda inner: to_nvfp4(INNER_SCALE)(to_bf16(inner)))


class Cutile(FlashInfer):
    """cuTile, with bf16 activations."""

    name = "flashinfer-cutile"
    backend = CUTILE
