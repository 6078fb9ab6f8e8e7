"""Sample arguments for the MoE ops of two backends with their own declarations, Prims-TS and Cake.

The hidden size is padded (2816) or narrow (2688). The outputs of Prims-TS have the width of its activations.
"""

from collections.abc import Callable
from typing import Any

import torch

from harness.engines.flashinfer.samples.moe import (
    EXPERTS,
    HIDDEN,
    INTER,
    MXFP8,
    PADDED,
    TOKENS,
    TOP_K,
    Samples,
    bf16,
    fp4,
    fp8,
    output,
    routed,
)
from harness.engines.flashinfer.samples.quantize import E4M3, x


def prims_ts_bf16_moe() -> Samples:
    """bf16 weights and activations."""
    arguments = bf16()
    yield "from logits", arguments, {}
    yield "narrow width", bf16(HIDDEN), {}
    yield "routed before", arguments | routed(), {"expert_weights": x(TOKENS, TOP_K)}
    yield "output given", arguments, output(PADDED)
    yield "not finalised", arguments, {"do_finalize": False}


def _fp4(packed: bool, width: int = PADDED) -> dict[str, Any]:
    """As for trtllm-gen, but without num_fused_shared_experts: the fake of 0.7.2.post1 would refuse every sample with it."""
    arguments = fp4(packed, width)
    del arguments["num_fused_shared_experts"]
    return arguments


def prims_ts_fp4_block_scale_moe() -> Samples:
    """NVFP4 weights and packed activations, or MXFP4 with bf16 or MXFP8 ones."""
    mxfp8 = {"hidden_states": x(TOKENS, PADDED, dtype=E4M3), "hidden_states_scale": x(TOKENS, PADDED // 32, dtype=E4M3)}
    yield "packed activations", _fp4(True), {}
    yield "packed, narrow width", _fp4(True, HIDDEN), {}
    yield "bf16 activations", _fp4(False), {}
    yield "MXFP8 activations", _fp4(False), mxfp8
    yield "packed, routed before", _fp4(True), routed() | {"topk_weights": x(TOKENS, TOP_K)}
    yield "packed, output given", _fp4(True), output(PADDED)
    yield "packed, not finalised", _fp4(True), {"do_finalize": False}
    yield "packed, shared experts named", _fp4(True), {"num_fused_shared_experts": 0}


def prims_ts_fp8_per_tensor_scale_moe() -> Samples:
    """e4m3, one scale per expert."""
    yield "from logits", fp8(), {}
    yield "narrow width", fp8(HIDDEN), {}
    yield "output given", fp8(), output(PADDED)
    yield "not finalised", fp8(), {"do_finalize": False}


def prims_ts_fp8_block_scale_moe() -> Samples:
    """e4m3 with DeepSeek's blocks of 128, or MXFP8."""
    for label, arguments, about in prims_ts_fp8_per_tensor_scale_moe():
        hidden = arguments["hidden_states"].shape[1]
        blocks = {"hidden_states_scale": torch.ones(hidden // 128, TOKENS)}
        blocks |= {"gemm1_weights_scale": torch.ones(EXPERTS, 2 * INTER // 128, hidden // 128)}
        blocks |= {"gemm2_weights_scale": torch.ones(EXPERTS, hidden // 128, INTER // 128)}
        yield label, arguments | blocks, about
    scales = {"hidden_states_scale": x(TOKENS, PADDED // 32, dtype=torch.uint8)}
    scales |= {"gemm1_weights_scale": x(EXPERTS, 2 * INTER, PADDED // 32, dtype=torch.uint8)}
    scales |= {"gemm2_weights_scale": x(EXPERTS, PADDED, INTER // 32, dtype=torch.uint8)}
    yield "MXFP8", fp8() | scales, {"fp8_quantization_type": MXFP8}


def _offsets() -> tuple[tuple[str, torch.Tensor], ...]:
    """The end of each expert's rows, with or without a leading 0."""
    ends = torch.tensor([2, 2, TOKENS], dtype=torch.int32)
    return ("ends", ends), ("a leading 0 and ends", torch.cat((ends.new_zeros(1), ends)))


def cake_moe_grouped_gemm_fwd() -> Samples:
    """[sum_m, K] by [E, N, K] into [sum_m, N]."""
    for label, ends in _offsets():
        arguments: dict[str, Any] = {"x": x(TOKENS, HIDDEN), "w": x(EXPERTS, 2 * INTER, HIDDEN), "offs": ends}
        yield label, arguments, {"out": x(TOKENS, 2 * INTER)}


def cake_moe_grouped_gemm_dgrad() -> Samples:
    """[sum_m, N] by [E, N, K] into [sum_m, K]."""
    for label, ends in _offsets():
        arguments: dict[str, Any] = {"g": x(TOKENS, 2 * INTER), "w": x(EXPERTS, 2 * INTER, PADDED), "offs": ends}
        yield label, arguments, {"out": x(TOKENS, PADDED)}


def cake_moe_grouped_gemm_wgrad() -> Samples:
    """[sum_m, N] by [sum_m, K] into [E, N, K], bf16 or fp32."""
    for label, ends in _offsets():
        arguments: dict[str, Any] = {
            "g": x(TOKENS, 2 * INTER),
            "x": x(TOKENS, PADDED),
            "offs": ends,
            "num_groups": EXPERTS,
        }
        yield label, arguments, {"out": x(EXPERTS, 2 * INTER, PADDED)}
    yield "fp32 out", arguments, {"out": x(EXPERTS, 2 * INTER, PADDED, dtype=torch.float32)}


SAMPLES: dict[str, Callable[[], Samples]] = {
    function.__name__: function
    for function in (
        prims_ts_bf16_moe, prims_ts_fp4_block_scale_moe, prims_ts_fp8_per_tensor_scale_moe, prims_ts_fp8_block_scale_moe,
        cake_moe_grouped_gemm_fwd, cake_moe_grouped_gemm_dgrad, cake_moe_grouped_gemm_wgrad,
    )
}  # fmt: skip
