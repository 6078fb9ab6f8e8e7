"""Calls of FlashInfer's cuTile NVFP4 MoE, through the runner that chooses the tiles."""

import importlib
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kernels.flashinfer.backends import CUTILE, MODULE, fitting, installed
from kernels.flashinfer.calls import Routed, narrowed
from kernels.layer.experts import CLAMP, STEEPNESS

# Our names of activations to FlashInfer's activation classes.
_TYPED = {"silu": "SwiGLU", "clamped-swiglu": "SwiGLU", "gelu-tanh": "GeGLUTanh", "relu2": "ReLU2"}


def cutile(call: Routed) -> Tensor:
    """``CuTileNvfp4Bf16Runner``, whose activations are bf16 and which writes the padded width.

    The first call of a size compiles, and allocates a workspace that later calls reuse. A CUDA graph therefore needs one
    call before its capture.
    """
    runner = _runner(call.x.device, call.experts.w13.shape[0], call.ids.shape[1], call.intermediate, call.activation)
    api, experts = importlib.import_module(MODULE), call.experts
    view = {
        "w1": experts.w13,
        "w1_scale": experts.w13_scale.view(torch.float8_e4m3fn),
        "w1_global_scale": experts.w13_global_scale,
        "w2": experts.w2,
        "w2_scale": experts.w2_scale.view(torch.float8_e4m3fn),
        "w2_global_scale": experts.w2_global_scale,
    }
    weights = api.MoEWeightPack()
    weights.prepare_for(runner.backend_key, view)
    given = {"hidden_states_q": call.x, "hidden_states_scale": None, "topk_ids": call.ids, "topk_weights": call.weights}
    packed = runner.pack_inputs(api.MoEActivationPack(**fitting(api.MoEActivationPack, given, {})), weights)
    return narrowed(runner.forward(packed), call.out_width)


@cache
def _runner(device: torch.device, experts: int, top_k: int, intermediate: int, activation: str) -> Any:
    """FlashInfer's runner for layers of these sizes. Cached, so that later calls find its workspace."""
    api = importlib.import_module(MODULE)
    limits = {"alpha": STEEPNESS, "beta": 1.0, "limit": CLAMP} if activation == "clamped-swiglu" else {}
    config = api.MoEConfig(
        routing=api.RoutingConfig(num_experts=experts, top_k=top_k),
        quant=api.QuantConfig(weight=api.QuantFormat.NVFP4, activation=api.QuantFormat.BF16),
        experts=api.ExpertConfig(intermediate_size=intermediate),
        activation=getattr(api, _TYPED[activation])(**limits),
    )
    runner = installed(CUTILE)(config, device)
    runner.check_support()
    runner.build()
    return runner
