"""The stand-in for the kernel: a quantisation config and a fused MoE method, which SGLang's own extension points take.

It pads as SGLang's MXFP4 method does, in ``apply``. It writes the padded width, or the true width for a case with a narrow
kernel. Importing it needs SGLang.
"""

from typing import Any

import torch
from sglang.srt.layers.linear import LinearBase
from sglang.srt.layers.moe.token_dispatcher.standard import StandardCombineInput
from sglang.srt.layers.quantization.base_config import FusedMoEMethodBase, QuantizationConfig
from sglang.srt.layers.quantization.unquant import UnquantizedLinearMethod
from torch import nn
from torch.nn import functional

from harness.engines.sglang.kernel import experts
from harness.engines.sglang.weights import in_block, masters
from harness.matrix.case import Case

BY_KERNEL = "sglang-kernel-scale"


class StandIn(FusedMoEMethodBase):  # type: ignore[misc]
    """The fused kernel in torch: both products, and the sum over a token's experts. SGLang's top-k has done the routing."""

    def __init__(self, case: Case) -> None:
        self.case = case
        # As SGLang's NVFP4 method: the routed scale is a factor of the weights that the top-k hands on.
        self.fuse_routed_scaling_factor_in_topk = case.path != BY_KERNEL

    def create_weights(self, layer: Any, *sizes: Any, **more: Any) -> None:
        """The master weights, padded as the kernel takes them."""
        weights, case = masters(self.case), self.case
        extra = case.padded - case.width
        w13 = functional.pad(weights.w13, (0, extra))
        w2 = functional.pad(weights.w2, (0, 0, 0, extra)) if case.kernel == "wide" else weights.w2.clone()
        if in_block(case) == "gpt-oss":
            layer.hidden_size = case.padded  # as FusedMoE does for an MXFP4 kernel, which gpt-oss has
        layer.w13_weight, layer.w2_weight = (nn.Parameter(w.clone(), requires_grad=False) for w in (w13, w2))

    def create_moe_runner(self, layer: nn.Module, moe_runner_config: Any) -> None:
        """The stand-in has no runner. Its configuration has the routed scale."""
        self.moe_runner_config = moe_runner_config

    def apply(self, layer: Any, dispatch_output: Any) -> Any:
        """[T, width] to [T, padded], or [T, width] for a narrow kernel."""
        x, routing = dispatch_output.hidden_states, dispatch_output.topk_output
        padded = functional.pad(x, (0, self.case.padded - x.shape[-1]))
        scale = 1.0 if layer.should_fuse_routed_scaling_factor_in_topk else self._scale()
        out = experts(padded, layer.w13_weight, layer.w2_weight, routing.topk_weights, routing.topk_ids, scale)
        return StandardCombineInput(hidden_states=out)

    def _scale(self) -> float:
        """The factor that SGLang's runners scale by where the top-k does not: what the model gave to the layer, if anything."""
        return float(self.moe_runner_config.routed_scaling_factor or 1.0)


class StandInConfig(QuantizationConfig):  # type: ignore[misc]
    """Names a stand-in as the method of the MoE layer. Dense layers are not quantised."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def get_quant_method(self, layer: nn.Module, prefix: str) -> Any:
        """The stand-in for the MoE layer."""
        return UnquantizedLinearMethod() if isinstance(layer, LinearBase) else StandIn(self.case)

    def get_name(self) -> str:
        """A name for logs."""
        return "harness"

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        """The dtypes that the harness tests."""
        return [torch.bfloat16]

    def get_scaled_act_names(self) -> list[str]:
        """No activation is scaled."""
        return []

    @classmethod
    def get_min_capability(cls) -> int:
        """No GPU is required."""
        return 0

    @staticmethod
    def get_config_filenames() -> list[str]:
        """There is no checkpoint."""
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """There is no checkpoint."""
        raise NotImplementedError
