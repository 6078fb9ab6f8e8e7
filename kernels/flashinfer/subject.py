"""The padded layer with FlashInfer's NVFP4 kernels, one subject for each backend."""

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

# A generous bound of the rounding error of an fp32 sum, in units of the rms of such sums; and how often a token is redrawn.
_SUM_ERROR, _DRAWS = 1e-5, 20


def _input(x: Tensor) -> Tensor:
    """The op gets bf16, and quantises it to NVFP4."""
    return to_nvfp4(INPUT_SCALE)(to_bf16(x))


def _moved(sums: Tensor, rounding: Step) -> Tensor:
    """Whether rounding errors of [..., K] sums change what their row is rounded to; gate and up may err in opposite directions."""
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
        """The case's routed experts, padded by its alignment rule and then prepared together: trtllm's scalars are [2, E]."""
        return self.backend.prepare(super().experts(case, device), case.gated)

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """As in-tree, but tokens are redrawn where the order of a sum decides how NVFP4 rounds it.

        On such tokens a correct kernel may differ from the oracle by a whole code.
        """
        hidden, ids, weights = super().inputs(case, tokens, seed, device)
        generator = torch.Generator().manual_seed(-1 - seed)  # not the seed of any inputs: no token comes twice
        for _ in range(_DRAWS if self.backend.quantises else 0):
            redrawn = self.unsettled(case, hidden, ids)
            if not redrawn.any():
                break
            hidden[redrawn] = torch.randn(int(redrawn.sum()), case.hidden, generator=generator).to(hidden)
        return hidden, ids, weights

    def unsettled(self, case: Case, hidden: Tensor, ids: Tensor) -> Tensor:
        """Whether a rounding error of a sum changes a code or scale, of the latent input or of an intermediate: bool [T].

        At true sizes intermediates are not looked at: among so many some always change, and one changes too little to show.
        """
        masters, x = masters_of(case, hidden.device), hidden.float()
        unsettled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if masters.latent is not None:
            x = product(x, masters.latent[0])
            unsettled |= _moved(x, self.rounding.x)
        if case.full:
            return unsettled
        w13 = torch.stack([masters.expert(index)[0] for index in range(case.experts)])
        projected = torch.einsum("th,enh->etn", self.rounding.x(x), w13)
        return unsettled | _moved(projected, lambda sums: self._inner(case, sums)).T.gather(1, ids.long()).any(1)

    def _inner(self, case: Case, projected: Tensor) -> Tensor:
        return self.rounding.inner(activated(self.rounding.projected(projected), case.activation, case.gated))

    def ops(self, case: Case) -> Sequence[str]:
        """FlashInfer's op."""
        return (OP,)


class Trtllm(FlashInfer):
    """TensorRT-LLM's generated kernels. Their code is closed; we assume that they round nothing before the intermediate."""

    name = "flashinfer-trtllm"
    backend = TRTLLM
    rounding = Rounding(_input, exact, to_nvfp4(INNER_SCALE))


class Cutlass(FlashInfer):
    """CUTLASS, which rounds the first product and the activation to bf16."""

    name = "flashinfer-cutlass"
    backend = CUTLASS
    rounding = Rounding(_input, to_bf16, lambda inner: to_nvfp4(INNER_SCALE)(to_bf16(inner)))


class Cutile(FlashInfer):
    """cuTile, with bf16 activations."""

    name = "flashinfer-cutile"
    backend = CUTILE
