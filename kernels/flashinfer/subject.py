"""The padded layer with FlashInfer's NVFP4 kernels in it, a subject for each backend."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from harness.base.errors import Skip
from harness.matrix.case import Case
from kernels.flashinfer.backends import CUTILE, CUTLASS, TRTLLM, Backend, missing, refused
from kernels.flashinfer.calls import misfit
from kernels.flashinfer.experts import OP, flashinfer_experts
from kernels.flashinfer.weights import INNER_SCALE, INPUT_SCALE
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.masters import masters_of
from kernels.layer.oracle import Rounding, Step, activated, exact, product
from kernels.layer.oracle_nvfp4 import to_bf16, to_nvfp4
from kernels.layer.subject import InTree
from kernels.layer.weights import Experts

# Of a sum in fp32, in units of the rms of such sums, generously; and how often a token is drawn again at most.
_SUM_ERROR, _DRAWS = 1e-5, 20


def _input(x: Tensor) -> Tensor:
    """The op gets bf16, and makes NVFP4 of it."""
    return to_nvfp4(INPUT_SCALE)(to_bf16(x))


def _moved(sums: Tensor, rounding: Step) -> Tensor:
    """Whether errors of [..., K] sums change what their row is rounded to, in the same or in opposite directions by half."""
    error = _SUM_ERROR * sums.square().mean(-1, keepdim=True).sqrt().expand_as(sums)
    opposite = torch.cat([half * sign for half, sign in zip(error.chunk(2, -1), (1, -1), strict=True)], -1)
    settled = rounding(sums)
    return torch.stack([rounding(sums + one) != settled for one in (error, -error, opposite, -opposite)]).any(0).any(-1)


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
        why = missing(self.backend, device) or refused(self.backend, case) or misfit(self.backend, case.activation)
        if why:
            raise Skip(why)
        layer = super().build(case, device)
        assert isinstance(layer, FlashInferLayer)
        layer.backend, layer.intermediate = self.backend.name, case.padded_intermediate
        return layer

    def experts(self, case: Case, device: torch.device) -> Experts:
        """The case's routed experts, padded by its alignment rule and then prepared, all at once: scalars are not per expert."""
        return self.backend.prepare(super().experts(case, device), case.gated)

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """As in-tree; tokens are drawn again whose values NVFP4 rounds by the order in which they were summed."""
        hidden, ids, weights = super().inputs(case, tokens, seed, device)
        generator = torch.Generator().manual_seed(-1 - seed)  # no token twice
        for _ in range(_DRAWS if self.backend.quantises else 0):
            again = self.unsettled(case, hidden, ids)
            if not again.any():
                break
            hidden[again] = torch.randn(int(again.sum()), case.hidden, generator=generator).to(hidden)
        return hidden, ids, weights

    def unsettled(self, case: Case, hidden: Tensor, ids: Tensor) -> Tensor:
        """Whether, bool [T], a rounding error of a sum becomes another code or scale: in the latent, or an intermediate.

        At true sizes the intermediates are too many to have none, and one among them changes too little to show.
        """
        found, x = masters_of(case, hidden.device), hidden.float()
        again = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if found.latent is not None:
            x = product(x, found.latent[0])
            again |= _moved(x, self.rounding.x)
        if case.full:
            return again
        w13 = torch.stack([found.expert(index)[0] for index in range(case.experts)])
        projected = torch.einsum("th,enh->etn", self.rounding.x(x), w13)
        return again | _moved(projected, lambda sums: self._inner(case, sums)).T.gather(1, ids.long()).any(1)

    def _inner(self, case: Case, projected: Tensor) -> Tensor:
        return self.rounding.inner(activated(self.rounding.projected(projected), case.activation, case.gated))

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
