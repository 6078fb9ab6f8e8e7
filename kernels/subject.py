"""The in-tree subject: the padded NVFP4 MoE layer of this checkout."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.case import Case
from kernels.experts import OP
from kernels.layer import PaddedMoELayer
from kernels.masters import Sizes, masters, quantised
from kernels.oracle import EXACT, Rounding, layer_output
from kernels.weights import Experts, pad_experts


class InTree:
    """The layer, its inputs and its oracle, by ``harness.subject.Subject``."""

    name = "in-tree"
    layer: type[PaddedMoELayer] = PaddedMoELayer
    rounding: Rounding = EXACT

    def build(self, case: Case, device: torch.device) -> PaddedMoELayer:
        """A layer that shares no memory with another one."""
        sizes = Sizes.of(case)
        found = masters(sizes)
        return self.layer(
            self.experts(case, device),
            width=case.width,
            padded=case.padded,
            out_width=case.padded if case.kernel == "wide" else case.width,
            activation=case.activation,
            gated=case.gated,
            scaling=case.scaling,
            tp=case.tp,
            shared=_copies(found.shared, device),
            latent=_copies(found.latent, device),
        )

    def experts(self, case: Case, device: torch.device) -> Experts:
        """The case's routed experts, padded by its alignment rule."""
        first, second = quantised(Sizes.of(case))
        padded = pad_experts(first, second, hidden=case.padded, intermediate=case.padded_intermediate)
        return Experts(**{name: tensor.to(device) for name, tensor in padded.tensors().items()})

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """hidden_states [tokens, hidden], topk_ids [tokens, top_k] int32, distinct in each row, topk_weights fp32."""
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.randn(tokens, case.hidden, generator=generator).to(getattr(torch, case.dtype))
        ids = torch.rand(tokens, case.experts, generator=generator).topk(case.top_k).indices.int()
        # Their sum is not one, as with sigmoid routers: a kernel that normalises what it is given shows.
        weights = torch.randn(tokens, case.top_k, generator=generator).sigmoid()
        return hidden.to(device), ids.to(device), weights.to(device)

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``routed`` and, where there is a shared expert, ``shared``, fp32 [tokens, hidden] on the inputs' device."""
        found, device = masters(Sizes.of(case)), inputs[0].device
        return layer_output(
            inputs,
            found.w13.to(device),
            found.w2.to(device),
            activation=case.activation,
            gated=case.gated,
            scaling=case.scaling,
            tp=case.tp,
            shared=_on(found.shared, device),
            latent=_on(found.latent, device),
            rounding=self.rounding,
        )

    def ops(self, case: Case) -> Sequence[str]:
        """The routed experts' op."""
        return (OP,)


def _on(pair: tuple[Tensor, Tensor] | None, device: torch.device) -> tuple[Tensor, Tensor] | None:
    return pair and (pair[0].to(device), pair[1].to(device))


def _copies(pair: tuple[Tensor, Tensor] | None, device: torch.device) -> tuple[Tensor, Tensor] | None:
    return pair and (_copy(pair[0], device), _copy(pair[1], device))


def _copy(weight: Tensor, device: torch.device) -> Tensor:
    return weight.to(device, torch.bfloat16, copy=True)
