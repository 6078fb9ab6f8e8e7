"""The layer under test: vLLM's own, built for a case. In older releases it also does what the model around the layer does."""

import itertools
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.engines.vllm.engine import Engine
from harness.engines.vllm.paths.methods import method_of
from harness.engines.vllm.paths.on_input import ON_INPUT, routing_on_input
from harness.engines.vllm.routing import MODULAR, Gate, routing_function, routing_without_fillers
from harness.engines.vllm.standin import StandIn, StandInConfig
from harness.engines.vllm.transforms import transforms
from harness.engines.vllm.weights import DEFERS, NORMALISE, Pair, masters
from harness.execution.passed_on import is_noting, note_logits
from harness.matrix.case import Case
from harness.ops.product import product

_count = itertools.count()


class SharedExpert(nn.Module):
    """A dense shared expert, as a model passes it to the layer. It does not reduce, since the layer reduces the sum."""

    moe_part = "shared"

    def __init__(self, up: Tensor, down: Tensor) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(weight.clone(), requires_grad=False) for weight in (up, down))

    def forward(self, x: Tensor) -> Tensor:
        """[T, H] to [T, H]."""
        gate, up = product(x, self.up).chunk(2, -1)
        return product(functional.silu(gate) * up, self.down)


class Layer(nn.Module):
    """vLLM's layer as a model calls it: hidden_states and router logits to [T, H]."""

    def __init__(self, engine: Engine, case: Case) -> None:
        super().__init__()
        weights, prefix = masters(case), f"model.layers.{next(_count)}.mlp.experts"
        self.choices = _choices(case, weights.gate)
        dtype = getattr(torch, case.dtype)
        shared, latent = _in(dtype, weights.shared), _in(dtype, weights.latent)
        down, up = transforms(latent, case.path in NORMALISE, engine.root)
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
            params_dtype=dtype,
            reduce_results=not (self.by_model or case.path == DEFERS),
            quant_config=StandInConfig(case, method_of(case)),
            tp_size=case.tp,
            dp_size=1,
            pcp_size=1,
            prefix=prefix,
            shared_experts=shared and SharedExpert(*shared),
            routed_input_transform=down,
            routed_output_transform=up,
            routed_scaling_factor=case.scaling / self.scaling,
            apply_routed_scale_to_output=True,
            **{"renormalize": True} | self.choices,
        )
        weakref.finalize(self, engine.forget, prefix)
        _load(self.experts)
        if case.path == "vllm-lora":
            from harness.engines.vllm.paths.lora import with_adapter

            self.experts = with_adapter(self.experts, case)

    def forward(self, hidden_states: Tensor, router_logits: Tensor | None = None) -> Tensor:
        """[T, H] and [T, E] fp32 to [T, H]. Where the runner has the gate, models pass hidden_states for the logits."""
        if is_noting():
            note_logits(
                "selected", self.choices["gate"].logits(hidden_states) if router_logits is None else router_logits
            )
        out = self.experts(hidden_states, hidden_states if router_logits is None else router_logits)
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


def _choices(case: Case, gate: Tensor) -> dict[str, Any]:
    """What the case's path adds to the constructor's arguments."""
    if case.path == "vllm-gate":
        return {"gate": Gate(gate)}
    if case.path in ON_INPUT:
        return {
            "custom_routing_function": routing_on_input,
            "renormalize": False,
            "apply_router_weight_on_input": True,
        }
    routing = routing_without_fillers if case.path == "vllm-padded-rows" else routing_function
    return {"custom_routing_function": routing} if case.path in MODULAR else {}


def _in(dtype: torch.dtype, pair: Pair | None) -> Pair | None:
    return pair and (pair[0].to(dtype), pair[1].to(dtype))


def _load(layer: nn.Module) -> None:
    """What vLLM's loader does after it has read the checkpoint."""
    for module in layer.modules():
        method: Any = getattr(module, "quant_method", None)
        if isinstance(method, StandIn):
            method.process_weights_after_loading(module)
