"""Torch stand-ins for FlashInfer's NVFP4 MoE kernels, written from what FlashInfer's tests and sources say that they do.

They compute from the weights as they were prepared, read back by ``cases.flashinfer_layouts``; each takes its arguments
by the names that FlashInfer's Python has for them. A stand-in shows what a description means, not what a kernel does.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cases.flashinfer_layouts import cutlass_matrix, matrix, trtllm_matrix
from kernels.oracle_nvfp4 import to_nvfp4

Told = dict[str, Any]
RELU2, SWIGLU, GEGLU_TANH = 6, 3, 8  # FlashInfer's ActivationType


def swiglu(gate: Tensor, up: Tensor, told: Told, scale: Tensor | float = 1.0) -> Tensor:
    """silu(gate) * up, or gpt-oss's variant where limits are given: those of sums that ``scale`` is still to multiply."""
    alpha, beta, limit = (told[name] for name in ("alpha", "beta", "limit"))
    if alpha is None:
        return functional.silu(gate * scale) * up
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return gate * scale * torch.sigmoid(alpha * gate * scale) * (up + beta)


def trtllm_kernel(told: Told) -> list[Tensor]:
    """What trtllm-gen's NVFP4 MoE is described to do."""
    x = matrix(told["hidden_states"], told["hidden_states_scale"].view(torch.uint8))
    output = told["output"].float().zero_()
    names = ("gemm1_alpha", "gemm1_beta", "gemm1_clamp_limit")
    for expert in range(told["num_experts"]):
        rows = x @ trtllm_matrix(told["gemm1_weights"][expert], bits(told["gemm1_weights_scale"][expert])).T
        gate_scale = told["output1_scale_gate_scalar"][expert]
        limits = {name.split("_")[1]: value for name in names for value in [each(told[name], expert)]}
        if told["activation_type"] == RELU2:
            inner = torch.relu(rows * gate_scale).square()
        else:
            assert told["activation_type"] == SWIGLU
            up, gate = rows[:, 0::2], rows[:, 1::2]
            inner = swiglu(gate, up, {**limits, "limit": limits.pop("clamp")}, gate_scale)
        inner = to_nvfp4(1.0)(inner * told["output1_scale_scalar"][expert])
        down = trtllm_matrix(told["gemm2_weights"][expert], bits(told["gemm2_weights_scale"][expert]))
        every = inner @ down.T * told["output2_scale_scalar"][expert]
        share = (told["topk_weights"] * (told["topk_ids"] == expert)).sum(1, keepdim=True)
        output += share * every[:, : output.shape[1]]
    told["output"].copy_(output)
    return [told["output"]]


def cutlass_kernel(told: Told) -> None:
    """What CUTLASS' NVFP4 MoE does, by its source: bf16 between the first product and the activation, and after it."""
    assert not told["swizzled_input_sf"]
    _, scale13, alpha1, act2, scale2, alpha2 = told["quant_scales"]
    x = matrix(told["input"], told["input_sf"])
    output = told["output"].float().zero_()
    for expert in range(alpha1.shape[0]):
        first = cutlass_matrix(bits(told["fc1_expert_weights"][expert]), bits(scale13[expert]))
        rows = (x @ first.T * alpha1[expert]).bfloat16().float()
        limits = {name: each(told[f"swiglu_{name}"], expert) for name in ("alpha", "beta", "limit")}
        up, gate = rows.chunk(2, 1)
        kinds: dict[int, Callable[[], Tensor]] = {
            RELU2: lambda rows=rows: torch.relu(rows).square(),
            SWIGLU: lambda gate=gate, up=up, limits=limits: swiglu(gate, up, limits),
            GEGLU_TANH: lambda gate=gate, up=up: functional.gelu(gate, approximate="tanh") * up,
        }
        inner = kinds[int(told["activation_type"])]().bfloat16().float()
        second = cutlass_matrix(bits(told["fc2_expert_weights"][expert]), bits(scale2[expert]))
        # Its blocks' scales hold the global scale, which alpha2 takes out.
        every = to_nvfp4(1.0)(inner * act2) @ second.T * alpha2[expert]
        output += (told["token_final_scales"] * (told["token_selected_experts"] == expert)).sum(1, keepdim=True) * every
    told["output"].copy_(output)


def cutile_kernel(told: Told) -> Tensor:
    """What the cuTile kernels do, by their source: bf16 activations, linear scales, gate over up."""
    output = told["output"].float().zero_()
    x, activation = told["hidden_states"].float(), told["activation"]
    for expert in range(told["w1"].shape[0]):
        first = matrix(told["w1"][expert], bits(told["w1_scale"][expert])) * told["w1_global_scale"][expert]
        rows = (x @ first.T).bfloat16().float()
        gate, up = rows.chunk(2, 1)
        kind = type(activation).__name__
        if kind == "ReLU2":
            inner = torch.relu(rows).square()
        elif kind == "GeGLUTanh":
            inner = functional.gelu(gate, approximate="tanh") * up
        else:
            assert kind == "SwiGLU"
            limited = activation.limit is not None
            inner = swiglu(gate, up, vars(activation) if limited else {"alpha": None, "beta": None, "limit": None})
        second = matrix(told["w2"][expert], bits(told["w2_scale"][expert])) * told["w2_global_scale"][expert]
        every = (inner.bfloat16().float() @ second.T).bfloat16().float()
        output += (told["topk_weights"] * (told["topk_ids"] == expert)).sum(1, keepdim=True) * every
    told["output"].copy_(output)
    return told["output"]


def bits(words: Tensor) -> Tensor:
    """The bytes of a tensor that a caller viewed as another type."""
    return words.contiguous().view(torch.uint8)


def each(value: Tensor | None, expert: int) -> Any:
    """One expert's scalar, where there are any."""
    return None if value is None else value[expert]
