"""Sample arguments for FlashInfer's MoE ops: padded and narrow widths, packed and unpacked activations, finalised or not.

The hidden size is 2688, padded to 2816 or narrow; the other sizes are small. A sample consists of shared arguments and
special ones. A release that lacks a shared parameter is called without it. If it lacks a special one, the sample is skipped.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from harness.engines.flashinfer.samples.quantize import E4M3, x

Samples = Iterator[tuple[str, dict[str, Any], dict[str, Any]]]
HIDDEN, PADDED, INTER, EXPERTS, TOP_K, TOKENS = 2688, 2816, 128, 3, 2, 7
FROM_LOGITS, PACKED, UNPACKED = 0, 1, 2  # flashinfer's RoutingInputMode
RENORMALIZE, MXFP8 = 1, 2  # flashinfer's RoutingMethodType and Fp8QuantizationType

_OPTIONAL = (
    "routing_bias", "gemm1_bias", "gemm2_bias", "gemm1_lora_delta", "gemm1_alpha", "gemm1_beta", "gemm1_clamp_limit",
    "per_token_scale", "topk_ids", "topk_weights", "expert_weights", "output",
)  # fmt: skip


def _ones(count: int = EXPERTS) -> Tensor:
    return torch.ones(count)


def _common() -> dict[str, Any]:
    """Sizes and switches, by every name that FlashInfer uses for them."""
    counts = {"num_experts": EXPERTS, "local_num_experts": EXPERTS, "num_local_experts": EXPERTS, "top_k": TOP_K}
    sizes = {"intermediate_size": INTER, "local_expert_offset": 0, "routed_scaling_factor": 1.0}
    groups = {"n_group": None, "topk_group": None, "num_fused_shared_experts": 0}
    scales = {
        f"output{place}_scale{plural}_{kind}scalar": _ones()
        for place in (1, 2)
        for plural in ("", "s")
        for kind in ("", "gate_")
    }
    switches = {"routing_method_type": RENORMALIZE, "do_finalize": True, "use_routing_scales_on_input": False}
    none = dict.fromkeys(_OPTIONAL)
    weights = {"use_shuffled_weight": True, "weight_layout": 0}
    return counts | sizes | groups | scales | switches | none | weights | _from_logits()


def _from_logits(dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    return {"routing_input_mode": FROM_LOGITS, "routing_logits": x(TOKENS, EXPERTS, dtype=dtype)}


def routed() -> dict[str, Any]:
    """Arguments for an op that gets the routing instead of logits."""
    ids = torch.arange(TOKENS * TOP_K, dtype=torch.int32).view(TOKENS, TOP_K) % EXPERTS
    return {"routing_input_mode": UNPACKED, "routing_logits": None, "topk_ids": ids}


def output(width: int) -> dict[str, Tensor]:
    """An output buffer from the caller."""
    return {"output": torch.zeros(TOKENS, width, dtype=torch.bfloat16)}


def bf16(hidden: int = PADDED) -> dict[str, Any]:
    """bf16 weights and activations of one width."""
    arguments = _common() | {"hidden_states": x(TOKENS, hidden)}
    return arguments | {"gemm1_weights": x(EXPERTS, 2 * INTER, hidden), "gemm2_weights": x(EXPERTS, hidden, INTER)}


def trtllm_bf16_moe() -> Samples:
    """bf16 weights and activations. The caller may give an output as wide as hidden_states."""
    arguments = bf16()
    yield "from logits", arguments, {}
    yield "routed before", arguments, routed() | {"expert_weights": x(TOKENS, TOP_K)}
    yield "output given", arguments, output(PADDED)
    yield "not finalised", arguments, {"do_finalize": False}


def fp8(hidden: int = PADDED) -> dict[str, Any]:
    """e4m3 weights and activations of one width."""
    arguments = _common() | {"hidden_states": x(TOKENS, hidden, dtype=E4M3)}
    return arguments | {
        "gemm1_weights": x(EXPERTS, 2 * INTER, hidden, dtype=E4M3),
        "gemm2_weights": x(EXPERTS, hidden, INTER, dtype=E4M3),
    }


def trtllm_fp8_per_tensor_scale_moe() -> Samples:
    """e4m3, one scale per expert."""
    yield "from logits", fp8(), {}
    yield "output given", fp8(), output(PADDED)
    yield "not finalised", fp8(), {"do_finalize": False}
    yield "not finalised, fp32 logits", fp8(), {"do_finalize": False, **_from_logits(torch.float32)}


def trtllm_fp8_per_tensor_scale_routed_moe() -> Samples:
    """The same with given routing."""
    arguments = fp8() | routed()
    yield "weights given", arguments, {"expert_weights": x(TOKENS, TOP_K)}
    yield "output given", arguments, {"expert_weights": x(TOKENS, TOP_K), **output(PADDED)}
    yield "not finalised", arguments, {"expert_weights": x(TOKENS, TOP_K), "do_finalize": False}


def trtllm_fp8_per_channel_scale_moe() -> Samples:
    """e4m3, one scale per row of the weights."""
    arguments = fp8() | {"hidden_states_scale": torch.ones(TOKENS, 1)}
    arguments |= {
        "gemm1_per_channel_weight_scale": torch.ones(EXPERTS, 2 * INTER),
        "gemm2_per_channel_weight_scale": torch.ones(EXPERTS, PADDED),
    }
    yield "from logits", arguments, {}
    yield "not finalised", arguments, {"do_finalize": False}


def trtllm_fp8_block_scale_moe() -> Samples:
    """e4m3 with DeepSeek's blocks of 128 x 128, or MXFP8."""
    arguments = fp8() | {"hidden_states_scale": torch.ones(PADDED // 128, TOKENS)}
    arguments |= {"gemm1_weights_scale": torch.ones(EXPERTS, 2 * INTER // 128, PADDED // 128)}
    arguments |= {"gemm2_weights_scale": torch.ones(EXPERTS, PADDED // 128, INTER // 128)}
    yield "from logits", arguments, {}
    yield "routed before", arguments, routed() | {"expert_weights": x(TOKENS, TOP_K)}
    yield "output of the padded width given", arguments, output(PADDED)
    yield "narrower output given", arguments, output(HIDDEN)
    yield "valid_hidden_size", arguments, {"valid_hidden_size": HIDDEN, "valid_intermediate_size": INTER}
    yield "not finalised", arguments, {"do_finalize": False}


def fp4(packed: bool, width: int = PADDED) -> dict[str, Any]:
    """NVFP4 weights. The activations are NVFP4, two values per byte, or bf16."""
    hidden = x(TOKENS, width // 2, dtype=torch.uint8) if packed else x(TOKENS, width)
    arguments = _common() | {
        "hidden_states": hidden,
        "hidden_states_scale": x(TOKENS, width // 16, dtype=E4M3) if packed else None,
    }
    first = {"gemm1_weights": x(EXPERTS, 2 * INTER, width // 2, dtype=torch.uint8)}
    second = {"gemm2_weights": x(EXPERTS, width, INTER // 2, dtype=torch.uint8)}
    block = 16 if packed else 32
    scale = E4M3 if packed else torch.uint8
    scales = {"gemm1_weights_scale": x(EXPERTS, 2 * INTER, width // block, dtype=scale)}
    return arguments | first | second | scales | {"gemm2_weights_scale": x(EXPERTS, width, INTER // block, dtype=scale)}


def trtllm_fp4_block_scale_moe() -> Samples:
    """NVFP4 and MXFP4 weights."""
    given = {"topk_weights": x(TOKENS, TOP_K)}
    yield "packed activations", fp4(True), {}
    yield "bf16 activations", fp4(False), {}
    yield "packed, routed before", fp4(True), routed() | given
    yield "packed, output of the padded width given", fp4(True), output(PADDED)
    yield "packed, narrower output given", fp4(True), output(HIDDEN)
    yield "bf16, narrower output given", fp4(False), output(HIDDEN)
    yield "packed, valid_hidden_size", fp4(True), {"valid_hidden_size": HIDDEN, "valid_intermediate_size": INTER}
    yield "packed, layout of the scales named", fp4(True), {"hidden_states_scale_layout": 2}
    yield "packed, not finalised", fp4(True), {"do_finalize": False}
    yield (
        "packed, not finalised, no shared experts named",
        fp4(True) | {"num_fused_shared_experts": None},
        {"do_finalize": False},
    )


def trtllm_mxint4_block_scale_moe() -> Samples:
    """bf16 activations, int4 weights in blocks of 32."""
    arguments = _common() | {"hidden_states": x(TOKENS, PADDED)}
    arguments |= {
        "gemm1_weights": x(EXPERTS, 2 * INTER, PADDED // 2, dtype=torch.uint8),
        "gemm1_weights_scale": x(EXPERTS, 2 * INTER, PADDED // 32),
    }
    arguments |= {
        "gemm2_weights": x(EXPERTS, PADDED, INTER // 2, dtype=torch.uint8),
        "gemm2_weights_scale": x(EXPERTS, PADDED, INTER // 32),
    }
    yield "from logits", arguments, {}
    yield "output of the padded width given", arguments, output(PADDED)
    yield "narrower output given", arguments, output(HIDDEN)
    yield "valid_hidden_size", arguments, {"valid_hidden_size": HIDDEN, "valid_intermediate_size": INTER}
    yield "not finalised", arguments, {"do_finalize": False}


def cutlass_fused_moe() -> Samples:
    """bf16, into the caller's output, with or without min_latency_mode."""
    ids = torch.arange(TOKENS * TOP_K, dtype=torch.int32).view(TOKENS, TOP_K) % EXPERTS
    arguments: dict[str, Any] = {
        "input": x(TOKENS, PADDED),
        "token_selected_experts": ids,
        "token_final_scales": torch.ones(TOKENS, TOP_K),
    }
    arguments |= {
        "fc1_expert_weights": x(EXPERTS, 2 * INTER, PADDED),
        "fc1_expert_biases": None,
        "output_dtype": torch.bfloat16,
    }
    arguments |= {"fc2_expert_weights": x(EXPERTS, PADDED, INTER), "fc2_expert_biases": None, "quant_scales": []}
    yield "as called by default", arguments, output(PADDED)
    rows = {"output": torch.zeros(TOKENS * EXPERTS, PADDED, dtype=torch.bfloat16)}
    yield "minimum of latency", arguments, rows | {"min_latency_mode": True}


SAMPLES: dict[str, Callable[[], Samples]] = {
    function.__name__: function
    for function in (
        trtllm_bf16_moe, trtllm_fp8_per_tensor_scale_moe, trtllm_fp8_per_tensor_scale_routed_moe,
        trtllm_fp8_per_channel_scale_moe, trtllm_fp8_block_scale_moe, trtllm_fp4_block_scale_moe,
        trtllm_mxint4_block_scale_moe, cutlass_fused_moe,
    )
}  # fmt: skip
