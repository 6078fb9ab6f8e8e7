"""Sample arguments for FlashInfer's FP4 and FP8 quantisation ops. Each function has the name of its op.

It yields (label, arguments by name). There are rows that are not a multiple of 128, and widths whose number of scales is
not a multiple of 4, since a swizzled layout pads both. There are all scale layouts, and two and three dimensions.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Samples = Iterator[tuple[str, dict[str, Any]]]
E4M3 = torch.float8_e4m3fn
LINEAR, SWIZZLED, SMALL = 2, 0, 1  # flashinfer.tllm_enums.SfLayout


def x(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Random numbers; small integers for packed types."""
    generator = torch.Generator().manual_seed(sum(shape))
    if dtype in (torch.uint8, torch.int32):
        return torch.randint(0, 100, shape, generator=generator, dtype=dtype)
    return torch.randn(*shape, generator=generator).to(dtype)


def fp4_quantize_sm100() -> Samples:
    """[M, K] to packed [M, K/2] and scales."""
    scale = torch.ones(1)
    yield "128 x 64, scales linear", {"input": x(128, 64), "global_scale": scale, "is_sf_swizzled_layout": False}
    yield "7 x 2688, scales swizzled", {"input": x(7, 2688), "global_scale": scale}
    yield "7 x 80, scales swizzled 8x4", {"input": x(7, 80), "global_scale": scale, "is_sf_8x4_layout": True}
    yield "2 x 7 x 80", {"input": x(2, 7, 80), "global_scale": scale}


def fp4_quantize() -> Samples:
    """The op that FlashInfer itself registers: [.., M, K] in any layout, also column-major."""
    scale = torch.ones(1)
    yield "7 x 2688, scales swizzled", {"input": x(7, 2688), "global_scale": scale}
    yield "7 x 80, scales swizzled 8x4", {"input": x(7, 80), "global_scale": scale, "is_sf_8x4_layout": True}
    yield "7 x 80, scales linear", {"input": x(7, 80), "global_scale": scale, "is_sf_swizzled_layout": False}
    yield "2 x 7 x 80", {"input": x(2, 7, 80), "global_scale": scale}
    yield "80 x 7, column-major", {"input": x(7, 80).t(), "global_scale": scale}
    yield "2 x 80 x 7, column-major", {"input": x(2, 7, 80).transpose(1, 2), "global_scale": scale}


def mxfp4_dequantize_host() -> Samples:
    """Packed [M, K/2] and scales to fp32."""
    yield "7 x 40 packed", {"weight": x(7, 48, dtype=torch.uint8), "scale": x(7, 3, dtype=torch.uint8)}


def block_scale_interleave_sm100() -> Samples:
    """Linear scales to swizzled ones."""
    yield "128 x 4 uint8", {"unswizzled_sf": x(128, 4, dtype=torch.uint8)}
    yield "7 x 5 uint8", {"unswizzled_sf": x(7, 5, dtype=torch.uint8)}
    yield "7 x 5 bfloat16", {"unswizzled_sf": x(7, 5)}
    yield "3 x 7 x 5 uint8", {"unswizzled_sf": x(3, 7, 5, dtype=torch.uint8)}


def block_scale_interleave_sm100_out() -> Samples:
    """The same into the caller's buffer."""
    yield "7 x 5", {"unswizzled_sf": x(7, 5, dtype=torch.uint8), "out": torch.zeros(1024, dtype=torch.uint8)}


def fp4_batched_quantize_sm100() -> Samples:
    """[B, M, K]."""
    yield "3 x 7 x 80", {"input": x(3, 7, 80), "global_scale": torch.ones(1)}


def nvfp4_quant_and_per_token_scale_sm100() -> Samples:
    """[M, K], one scale per token."""
    for layout, name in ((LINEAR, "linear"), (SWIZZLED, "swizzled"), (SMALL, "swizzled 8x4")):
        yield f"7 x 80, scales {name}", {"input": x(7, 80), "scale_inv": 1.0, "sf_layout": layout}


def nvfp4_quant_and_per_token_scale_out_sm100() -> Samples:
    """The same into the caller's buffers."""
    buffers = {"output": x(7, 40, dtype=torch.uint8), "output_scale": x(7, 5, dtype=torch.uint8)}
    yield "7 x 80", {"input": x(7, 80), "scale_inv": 1.0, **buffers, "output_per_token_scale": torch.zeros(7)}


def silu_and_mul_scaled_nvfp4_experts_quantize_sm100() -> Samples:
    """[B, M, 2K], one mask per expert."""
    yield (
        "3 x 7 x 160",
        {"input": x(3, 7, 160), "mask": torch.full((3,), 5, dtype=torch.int32), "global_scale": torch.ones(3)},
    )


def scaled_fp4_grouped_quant_sm100() -> Samples:
    """[B, M, K], one mask per group."""
    mask = torch.full((3,), 5, dtype=torch.int32)
    yield "3 x 7 x 80", {"input_tensor": x(3, 7, 80), "input_global_scale": torch.ones(3), "mask": mask}


def e2m1_and_ufp8sf_scale_to_float_sm100() -> Samples:
    """Packed [M, K/2] and scales to fp32."""
    scales = torch.ones(1024, dtype=torch.uint8)
    yield (
        "7 x 40 packed",
        {"e2m1_tensor": x(7, 40, dtype=torch.uint8), "ufp8_scale_tensor": scales, "global_scale_tensor": torch.ones(1)},
    )


def nvfp4_kv_dequant() -> Samples:
    """Packed rows of a KV cache."""
    packed = {"fp4_data": x(7, 40, dtype=torch.uint8), "block_scales": x(7, 5, dtype=torch.uint8)}
    yield "7 x 40 packed", {**packed, "global_scale": torch.ones(1), "output": x(7, 80)}


def nvfp4_kv_quant() -> Samples:
    """Rows of a KV cache to packed ones."""
    out = {"fp4_output": x(7, 40, dtype=torch.uint8), "block_scales": x(7, 5, dtype=torch.uint8)}
    yield "7 x 80", {"input": x(7, 80), "global_scale": torch.ones(1), **out}


def mxfp8_quantize_sm100() -> Samples:
    """[M, K] to e4m3 and scales of 32."""
    yield "128 x 128, scales linear", {"input": x(128, 128), "sf_swizzle_layout": LINEAR}
    yield "7 x 96, scales swizzled", {"input": x(7, 96), "sf_swizzle_layout": SWIZZLED}
    yield "7 x 96, PDL off", {"input": x(7, 96), "sf_swizzle_layout": LINEAR, "enable_pdl": False}


def mxfp8_dequantize_host_sm100() -> Samples:
    """e4m3 and scales to fp32."""
    yield (
        "7 x 96",
        {"input": x(7, 96, dtype=torch.uint8), "scale_tensor": x(21, dtype=torch.uint8), "sf_swizzle_layout": LINEAR},
    )


def mxfp8_grouped_quantize() -> Samples:
    """[B, M, K], one mask per group."""
    for shape in ((3, 7, 96), (3, 130, 256)):
        mask = torch.full((3,), 5, dtype=torch.int32)
        yield " x ".join(map(str, shape)), {"a": x(*shape), "mask": mask}


def silu_and_mul_mxfp8_quantize() -> Samples:
    """[M, 2K], quantised along rows, columns or both."""
    for rows, columns in ((True, False), (False, True), (True, True)):
        yield (
            f"7 x 192, rowwise={rows}, colwise={columns}",
            {"gated_input": x(7, 192), "rowwise": rows, "colwise": columns},
        )


def silu_and_mul_mxfp8_quantize_backward() -> Samples:
    """Its gradient, quantised in the same way."""
    for label, arguments in silu_and_mul_mxfp8_quantize():
        yield label, {**arguments, "grad_output": x(7, 96)}


def rmsnorm_quant() -> Samples:
    """[M, H] into a buffer of e4m3."""
    yield "7 x 2688", {"out": x(7, 2688, dtype=E4M3), "input": x(7, 2688), "weight": x(2688), "scale": torch.ones(1)}


def fused_add_rmsnorm_quant() -> Samples:
    """The same after adding a residual, which is also written."""
    for label, arguments in rmsnorm_quant():
        yield label, {**arguments, "residual": x(7, 2688)}


def layernorm_quant() -> Samples:
    """[M, H] into a buffer of e4m3."""
    weights = {"gemma": x(2688, dtype=torch.float32), "beta": x(2688, dtype=torch.float32)}
    yield "7 x 2688", {"out": x(7, 2688, dtype=E4M3), "input": x(7, 2688), **weights, "scale": torch.ones(1)}


def fused_add_rmsnorm_fp8_block_quant() -> Samples:
    """[M, H] into buffers of e4m3 and one scale per 128 columns."""
    out = {"out": x(7, 2688, dtype=E4M3), "block_scale": torch.zeros(21, 8), "normed_out": x(7, 2688)}
    yield "7 x 2688", {**out, "input": x(7, 2688), "residual": x(7, 2688), "weight": x(2688)}


SAMPLES: dict[str, Callable[[], Samples]] = {
    function.__name__: function
    for function in (
        fp4_quantize, fp4_quantize_sm100, mxfp4_dequantize_host, block_scale_interleave_sm100, block_scale_interleave_sm100_out,
        fp4_batched_quantize_sm100, nvfp4_quant_and_per_token_scale_sm100, nvfp4_quant_and_per_token_scale_out_sm100,
        silu_and_mul_scaled_nvfp4_experts_quantize_sm100, scaled_fp4_grouped_quant_sm100,
        e2m1_and_ufp8sf_scale_to_float_sm100, nvfp4_kv_dequant, nvfp4_kv_quant, mxfp8_quantize_sm100,
        mxfp8_dequantize_host_sm100, mxfp8_grouped_quantize, silu_and_mul_mxfp8_quantize,
        silu_and_mul_mxfp8_quantize_backward, rmsnorm_quant, fused_add_rmsnorm_quant, layernorm_quant,
        fused_add_rmsnorm_fp8_block_quant,
    )
}  # fmt: skip
SAMPLES["cake_mxfp8_grouped_quantize"] = mxfp8_grouped_quantize
