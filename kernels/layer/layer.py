"""The padded MoE layer: one short method for each step, in an order that is correct for every combination of its parts."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.ops.collectives import all_reduce
from kernels.layer.experts import activate, routed_experts
from kernels.layer.weights import Experts


class PaddedMoELayer(nn.Module):
    """Routed experts of NVFP4 weights at a padded width, with or without a shared expert and a latent projection.

    ``width`` is the routed experts' true width (latent where there is one), ``padded`` the width of their weights,
    ``out_width`` the width their kernel writes: ``padded`` or ``width``. ``shared`` is the shared expert's up weight
    [2S or S, H] and down weight [H, S]; ``latent`` the down weight [L, H] and the up weight [H, L]; all bf16.
    Weights are stored as given, not copied. ``tp`` is the number of ranks that the output is summed over.
    """

    op = staticmethod(routed_experts.overload)
    w13: Tensor
    w13_scale: Tensor
    w13_global_scale: Tensor
    w2: Tensor
    w2_scale: Tensor
    w2_global_scale: Tensor
    shared_up: Tensor | None
    shared_down: Tensor | None
    latent_down: Tensor | None
    latent_up: Tensor | None

    def __init__(
        self,
        experts: Experts,
        *,
        width: int,
        padded: int,
        out_width: int,
        activation: str,
        gated: bool,
        scaling: float = 1.0,
        tp: int = 1,
        shared: tuple[Tensor, Tensor] | None = None,
        latent: tuple[Tensor, Tensor] | None = None,
        swizzled_scales: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.padded, self.out_width = width, padded, out_width
        self.activation, self.gated, self.swizzled_scales = activation, gated, swizzled_scales
        self.scaling, self.tp = scaling, tp
        for name, tensor in experts.tensors().items():
            self.register_buffer(name, tensor)
        # Weights and functional.linear, not nn.Linear: Dynamo traces through four frames of each module call.
        for name, weight in zip(("shared_up", "shared_down"), shared or (None, None), strict=True):
            self.register_buffer(name, weight)
        for name, weight in zip(("latent_down", "latent_up"), latent or (None, None), strict=True):
            self.register_buffer(name, weight)

    def forward(self, hidden_states: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        """hidden_states [T, H] bf16, topk_ids [T, K] int32, topk_weights [T, K] fp32 to a contiguous [T, H] bf16."""
        shared = self.shared_output(hidden_states)
        routed = self.pad(self.to_latent(hidden_states))
        routed = self.run_experts(routed, topk_ids, topk_weights)
        routed = self.scale(self.unpad(routed))
        routed = self.from_latent(routed)
        out = self.dense(self.add_shared(routed, shared))
        return self.reduce(out)

    def shared_output(self, hidden_states: Tensor) -> Tensor | None:
        """The shared expert's output [T, H], from hidden_states and never from the latent ones; None without such an expert."""
        if self.shared_up is None or self.shared_down is None:
            return None
        inner = activate(functional.linear(hidden_states, self.shared_up).float(), self.activation, self.gated)
        return functional.linear(inner.to(hidden_states.dtype), self.shared_down)

    def to_latent(self, hidden_states: Tensor) -> Tensor:
        """[T, H] to the width that the routed experts work at."""
        return hidden_states if self.latent_down is None else functional.linear(hidden_states, self.latent_down)

    def pad(self, x: Tensor) -> Tensor:
        """[T, width] to [T, padded]; the added columns are zero."""
        return x if self.padded == self.width else functional.pad(x, (0, self.padded - self.width))

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        """[T, padded] to [T, out_width]."""
        weights = self.op_weights()
        out: Tensor = self.op(
            x, topk_ids, topk_weights, *weights, self.activation, self.out_width, self.swizzled_scales
        )
        return out

    def op_weights(self) -> tuple[Tensor, ...]:
        """The experts' tensors, in the order of the op's schema."""
        return self.w13, self.w13_scale, self.w13_global_scale, self.w2, self.w2_scale, self.w2_global_scale

    def unpad(self, x: Tensor) -> Tensor:
        """[T, out_width] to [T, width]. Where columns are cut off, a view with the strides of the wider tensor."""
        return x if self.out_width == self.width else x[..., : self.width]

    def scale(self, x: Tensor) -> Tensor:
        """The routed scaling, applied once and to the routed part alone."""
        return x if self.scaling == 1 else x * self.scaling

    def from_latent(self, x: Tensor) -> Tensor:
        """[T, width] to [T, H]."""
        return x if self.latent_up is None else functional.linear(x, self.latent_up)

    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        """The sum of both parts, which both have the true width by now."""
        return routed if shared is None else shared + routed

    @property
    def strided(self) -> bool:
        """Whether the sum is still the view that ``unpad`` returned, because no later step wrote a tensor of its own."""
        rewritten = self.scaling != 1 or self.latent_up is not None or self.shared_up is not None
        return self.out_width != self.width and not rewritten

    def dense(self, x: Tensor) -> Tensor:
        """``x``, contiguous: the all-reduce flattens it, and the caller may."""
        # Not .contiguous(): it copies at two tokens but returns a view at one, where a row's stride does not count.
        return x.clone(memory_format=torch.contiguous_format) if self.strided else x

    def reduce(self, x: Tensor) -> Tensor:
        """The sum over ranks, taken once, of the routed and the shared part together."""
        out: Tensor = x if self.tp == 1 else all_reduce.overload(x, self.tp)
        return out
