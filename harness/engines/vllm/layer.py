"""The layer under test: vLLM's own, built for a case. In older releases it also does what the model around the layer does."""

import itertools
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.engines.vllm.engine import Engine
from harness.engines.vllm.standin import StandIn, StandInConfig
from harness.engines.vllm.weights import Pair, masters
from harness.matrix.case import Case

_count = itertools.count()


class SharedExpert(nn.Module):
    """A dense shared expert, as a model passes it to the layer. It does not reduce, since the layer reduces the sum."""

    def __init__(self, up: Tensor, down: Tensor) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(weight.clone(), requires_grad=False) for weight in (up, down))

    def forward(self, x: Tensor) -> Tensor:
        """[T, H] to [T, H]."""
        gate, up = functional.linear(x, self.up).chunk(2, -1)
        return functional.linear(functional.silu(gate) * up, self.down)


class Layer(nn.Module):
    """vLLM's layer as a model calls it: hidden_states and router logits to [T, H]."""

    def __init__(self, engine: Engine, case: Case) -> None:
        super().__init__()
        weights, prefix = masters(case), f"model.layers.{next(_count)}.mlp.experts"
        down, up = _transforms(weights.latent)
        self.tp, self.engine = case.tp, engine
        # Up to 0.19 the layer returns routed and shared parts, and the model scales, projects, adds and reduces them.
        self.by_model = "routed_output_transform" not in engine.takes and bool(weights.shared or weights.latent)
        # Either the model or the runner scales. The other one gets a factor of 1.
        self.scaling = case.scaling if "apply_routed_scale_to_output" not in engine.takes else 1.0
        self.up = up if self.by_model else None
        self.experts: Any = engine.layer(
            num_experts=case.experts,
            top_k=case.top_k,
            hidden_size=case.width,
            intermediate_size=case.intermediate * case.tp,
            params_dtype=torch.bfloat16,
            reduce_results=not self.by_model,
            renormalize=True,
            quant_config=StandInConfig(case),
            tp_size=case.tp,
            dp_size=1,
            pcp_size=1,
            prefix=prefix,
            shared_experts=weights.shared and SharedExpert(*weights.shared),
            routed_input_transform=down,
            routed_output_transform=up,
            routed_scaling_factor=case.scaling / self.scaling,
            apply_routed_scale_to_output=True,
        )
        weakref.finalize(self, engine.forget, prefix)
        _load(self.experts)

    def forward(self, hidden_states: Tensor, router_logits: Tensor) -> Tensor:
        """[T, H] bf16 and [T, E] fp32 to [T, H] bf16."""
        out = self.experts(hidden_states, router_logits)
        out = self.after(*out) if isinstance(out, tuple) else out
        # Without a shared expert vLLM returns a slice of padded rows, which its next layer accepts. The harness requires the
        # layout of hidden_states.
        return out.contiguous()

    def after(self, shared: Tensor | None, routed: Tensor) -> Tensor:
        """What models of these releases do with the routed and shared parts (NemotronHMoE.forward)."""
        if self.scaling != 1:
            routed *= self.scaling
        if self.up is not None:
            routed = self.up(routed)
        if shared is not None:
            routed += shared
        if self.by_model and self.tp > 1:
            routed = self.experts.maybe_all_reduce_tensor_model_parallel(routed)
        return routed


def _transforms(pair: Pair | None) -> tuple[nn.Module | None, nn.Module | None]:
    """The projections to and from the latent width, dense and without bias."""
    if pair is None:
        return None, None
    down, up = (nn.Linear(w.shape[1], w.shape[0], bias=False, device="meta") for w in pair)  # filled below
    for linear, weight in zip((down, up), pair, strict=True):
        linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
    up.reduce_commutative = True  # type: ignore[assignment]  # vLLM's models set this for a projection without bias
    return down, up


def _load(layer: nn.Module) -> None:
    """What vLLM's loader does after it has read the checkpoint."""
    for module in layer.modules():
        method: Any = getattr(module, "quant_method", None)
        if isinstance(method, StandIn):
            method.process_weights_after_loading(module)
