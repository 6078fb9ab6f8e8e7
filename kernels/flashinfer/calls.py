"""Calls of trtllm-gen's and CUTLASS' NVFP4 MoE, by keyword, with the parameters that the installed version has."""

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.base.errors import Skip
from kernels.flashinfer.backends import CUTLASS, MODULE, TRTLLM, Backend, fitting, installed
from kernels.flashinfer.weights import INNER_SCALE, INPUT_SCALE
from kernels.layer.experts import CLAMP, STEEPNESS
from kernels.layer.nvfp4 import quantise_rows
from kernels.layer.weights import Experts

# Our names of activations to FlashInfer's ActivationType.
_TYPES = {"silu": "Swiglu", "clamped-swiglu": "Swiglu", "gelu-tanh": "GegluTanh", "relu2": "Relu2"}


@dataclass(frozen=True, slots=True)
class Routed:
    """One call: tokens x [T, H] bf16, ids [T, K] int32, weights [T, K] fp32, prepared experts, activation and widths."""

    x: Tensor
    ids: Tensor
    weights: Tensor
    experts: Experts
    activation: str
    intermediate: int
    out_width: int

    def filled(self, value: float) -> Tensor:
        """fp32 [E] of one value."""
        return self.x.new_full((self.experts.w13.shape[0],), value, dtype=torch.float32)


def trtllm(call: Routed) -> Tensor:
    """``trtllm_fp4_block_scale_routed_moe``, which writes the width that its output tensor has."""
    out = call.x.new_empty(call.x.shape[0], call.out_width)
    needed, wanted = trtllm_arguments(call, out)
    function = installed(TRTLLM)
    function(**fitting(function, needed, wanted))
    return out


def trtllm_arguments(call: Routed, out: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that a call needs, and those that it passes if the function has them. x becomes NVFP4 with linear scales."""
    codes, scales, _ = quantise_rows(call.x, INPUT_SCALE)
    experts, count = call.experts, call.experts.w13.shape[0]
    output1, gate = experts.w13_global_scale
    clamped = call.activation == "clamped-swiglu"
    needed: dict[str, Any] = {
        "topk_ids": (call.ids, call.weights),
        "routing_bias": None,
        "hidden_states": codes,
        "hidden_states_scale": scales.view(torch.float8_e4m3fn),
        "gemm1_weights": experts.w13,
        "gemm1_weights_scale": experts.w13_scale.view(torch.float8_e4m3fn),
        "gemm1_bias": None,
        # The kernel adds and clamps before it dequantises; its sigmoid takes the dequantised gate.
        "gemm1_alpha": call.filled(STEEPNESS) if clamped else None,
        "gemm1_beta": 1 / gate if clamped else None,
        "gemm1_clamp_limit": CLAMP / gate if clamped else None,
        "gemm2_weights": experts.w2,
        "gemm2_weights_scale": experts.w2_scale.view(torch.float8_e4m3fn),
        "gemm2_bias": None,
        "output1_scale_scalar": output1.contiguous(),
        "output1_scale_gate_scalar": gate.contiguous(),
        "output2_scale_scalar": experts.w2_global_scale,
        "num_experts": count,
        "top_k": call.ids.shape[1],
        "n_group": None,
        "topk_group": None,
        "intermediate_size": call.intermediate,
        "local_expert_offset": 0,
        "local_num_experts": count,
        "routed_scaling_factor": None,
        "routing_method_type": int(
            _named("RoutingMethodType", "Renormalize")
        ),  # has no effect on weights that are given
        "activation_type": int(_named("ActivationType", _TYPES[call.activation])),
        "output": out,
    }
    return needed, {"hidden_states_scale_layout": _linear_layout()}


def cutlass(call: Routed) -> Tensor:
    """``cutlass_fused_moe``, which writes the padded width."""
    out = call.x.new_empty(call.x.shape)
    needed, wanted = cutlass_arguments(call, out)
    function = installed(CUTLASS)
    function(**fitting(function, needed, wanted))
    return narrowed(out, call.out_width)


def cutlass_arguments(call: Routed, out: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that a call needs, and those that it passes if the function has them. x becomes NVFP4 with linear scales."""
    codes, scales, _ = quantise_rows(call.x, INPUT_SCALE)
    experts, clamped = call.experts, call.activation == "clamped-swiglu"
    needed: dict[str, Any] = {
        "input": codes,
        "token_selected_experts": call.ids,
        "token_final_scales": call.weights,
        # It recognises NVFP4 by weights that are viewed as int64.
        "fc1_expert_weights": experts.w13.view(torch.int64),
        "fc2_expert_weights": experts.w2.view(torch.int64),
        "output_dtype": call.x.dtype,
        "quant_scales": [
            call.x.new_full((), INPUT_SCALE, dtype=torch.float32),
            experts.w13_scale.view(torch.int32),
            experts.w13_global_scale,
            call.x.new_full((), INNER_SCALE, dtype=torch.float32),
            experts.w2_scale.view(torch.int32),
            experts.w2_global_scale,
        ],
        "input_sf": scales,
        "swizzled_input_sf": False,
        "swiglu_alpha": call.filled(STEEPNESS) if clamped else None,
        "swiglu_beta": call.filled(1.0) if clamped else None,
        "swiglu_limit": call.filled(CLAMP) if clamped else None,
        "activation_type": _named("ActivationType", _TYPES[call.activation]),
        # The fused sum over experts uses atomics: two runs on the same inputs could differ in their bits.
        "use_fused_finalize": False,
        "output": out,
    }
    return needed, {}


ARGUMENTS = {"trtllm": trtllm_arguments, "cutlass": cutlass_arguments}


def misfit(backend: Backend, activation: str) -> str:
    """Why the installed function does not take the arguments of a call, by name, or an empty string."""
    if backend.name not in ARGUMENTS:
        return ""
    try:
        fitting(installed(backend), *ARGUMENTS[backend.name](_shapes(activation), torch.empty(0, device="meta")))
    except (AttributeError, Skip) as error:  # AttributeError: an enumeration lacks a name
        return str(error)
    return ""


def _shapes(activation: str) -> Routed:
    """A call of one token and one expert, on the meta device."""

    def empty(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    scalars = empty(2, 1, dtype=torch.float32), empty(1, dtype=torch.float32)
    experts = Experts(
        empty(1, 128, 128), empty(1, 128, 16), scalars[0], empty(1, 256, 32), empty(1, 256, 4), scalars[1]
    )
    ids, weights = empty(1, 1, dtype=torch.int32), empty(1, 1, dtype=torch.float32)
    return Routed(empty(1, 256, dtype=torch.bfloat16), ids, weights, experts, activation, 64, 256)


def narrowed(out: Tensor, width: int) -> Tensor:
    """The first ``width`` columns, contiguous; ``out`` itself where it has no more."""
    return out if out.shape[1] == width else out[:, :width].contiguous()


def _named(enumeration: str, name: str) -> Any:
    return getattr(getattr(importlib.import_module(MODULE), enumeration), name)


def _linear_layout() -> Any:
    """FlashInfer's name for linear scales, or None in a version that has none."""
    layouts = getattr(importlib.import_module("flashinfer.tllm_enums"), "SfLayout", None)
    return layouts and layouts.layout_linear
