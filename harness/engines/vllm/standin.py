"""The stand-in for the kernel, a quantisation config and a fused MoE method. vLLM's own extension points take them.

It pads as vLLM's NVFP4 path does: ``process_weights_after_loading`` sets ``moe.hidden_dim``. It writes the padded width, or
the true width for a case with a narrow kernel. Importing it needs vLLM.
"""

import inspect
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from vllm.model_executor.layers.fused_moe.fused_moe_method_base import FusedMoEMethodBase
from vllm.model_executor.layers.fused_moe.runner import moe_runner
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

from harness.engines.vllm.routing import check_logits, top_k
from harness.engines.vllm.weights import masters
from harness.execution.passed_on import note_logits
from harness.matrix.case import Case
from harness.ops.product import product

_REDUCE = "vllm.model_executor.layers.fused_moe.topk_weight_and_reduce"
_MXFP4 = "vllm.model_executor.layers.fused_moe.experts.trtllm_mxfp4_moe"


class StandIn(FusedMoEMethodBase):  # type: ignore[misc]
    """The fused kernel in torch: routing, both products, and the sum over a token's experts."""

    def __init__(self, moe: Any, case: Case) -> None:
        super().__init__(moe)
        self.case = case
        if case.kernel == "narrow" and says_by_kernel_class():
            self.moe_kernel = _trtllm_kernel()

    @property
    def is_monolithic(self) -> bool:
        """One kernel from router logits to output."""
        return True

    @property
    def has_unpadded_output(self) -> bool:
        """From 0.24 on, vLLM reads here that the kernel writes the true width."""
        return self.case.kernel == "narrow"

    def create_weights(self, layer: nn.Module, num_experts: int, *sizes: Any, **more: Any) -> None:
        """The unpadded master weights, as a checkpoint has them."""
        weights = masters(self.case)
        for name, tensor in (("w13_weight", weights.w13), ("w2_weight", weights.w2)):
            weight = tensor.to(getattr(torch, self.case.dtype), copy=True)
            layer.register_parameter(name, nn.Parameter(weight, requires_grad=False))

    def process_weights_after_loading(self, layer: Any) -> None:
        """Pad the weights, and set the width that the kernel takes for the runner."""
        more = self.case.padded - self.case.width
        w13, w2 = functional.pad(layer.w13_weight, (0, more)), functional.pad(layer.w2_weight, (0, 0, 0, more))
        layer.w13_weight, layer.w2_weight = (nn.Parameter(w, requires_grad=False) for w in (w13, w2))
        self.moe.hidden_dim = self.case.padded

    def get_fused_moe_quant_config(self, layer: nn.Module) -> Any:
        """None: the stand-in has no scales of vLLM's kind."""
        return None

    def apply(self, *args: Any, **kwargs: Any) -> Tensor:
        """Unused: the stand-in is not a modular kernel."""
        raise NotImplementedError

    def apply_monolithic(self, layer: Any, x: Tensor, router_logits: Tensor, input_ids: Tensor | None = None) -> Tensor:
        """[T, padded] to [T, padded], or [T, width] for a narrow kernel."""
        w13, w2 = layer.w13_weight, layer.w2_weight
        check_logits(router_logits, len(w13))
        note_logits("given", router_logits)
        if self.case.kernel == "narrow":
            w2 = w2[:, : self.case.width]
        weights, ids = top_k(router_logits, self.case.top_k)
        out = x.new_zeros((x.shape[0], w2.shape[1]), dtype=torch.float32)
        for expert in range(w13.shape[0]):
            share = (weights * (ids == expert)).sum(-1, keepdim=True)
            inner = gated(product(x, w13[expert]).float()).to(x.dtype)
            out += share * product(inner, w2[expert]).float()
        # Monolithic kernels scale. The factor is 1 if the runner scales the output.
        scaled: Tensor = out * layer.routed_scaling_factor
        return scaled.to(x.dtype)


class StandInConfig(QuantizationConfig):  # type: ignore[misc]
    """Names a stand-in as the method of every MoE layer."""

    def __init__(self, case: Case, method: type[StandIn]) -> None:
        super().__init__()
        self.case, self.method = case, method

    def get_quant_method(self, layer: nn.Module, prefix: str) -> StandIn:
        """The stand-in for this layer."""
        return self.method(layer.moe_config, self.case)

    def get_name(self) -> str:
        """A name for logs."""
        return "harness"

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        """The dtypes that the harness tests."""
        return [torch.bfloat16, torch.float16]

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


def gated(rows: Tensor) -> Tensor:
    """Silu of the first half of the columns times the second half."""
    gate, up = rows.chunk(2, -1)
    return functional.silu(gate) * up


def writes_narrow() -> bool:
    """Whether a kernel of this vLLM writes the true width: its TRT-LLM MXFP4 experts name that width."""
    try:
        return "hidden_dim_unpadded" in inspect.getsource(import_module(_MXFP4))
    except ModuleNotFoundError:
        return False


def sums_early() -> bool:
    """Whether this vLLM's runner can sum a latent layer's routed output before its transform, which it does from 0.27 on."""
    return "_maybe_reduce_routed_output_before_transform(" in inspect.getsource(moe_runner)


@cache
def sums_slots() -> bool:
    """Whether the reference finalize over batched buffers takes a row that names an expert in two slots.

    An older one selects one weight for each row, and views what it selected as a column of so many rows.
    """
    return "topk_weights[matching_tokens].view(" not in inspect.getsource(import_module(_REDUCE))


def says_by_kernel_class() -> bool:
    """Whether the runner decides by the kernel's class if it writes the true width (0.20.2 to 0.23)."""
    return "TrtLlmMxfp4ExpertsBase" in inspect.getsource(moe_runner)


def _trtllm_kernel() -> Any:
    """A kernel for such a runner: its experts have that class, and it does no reduce itself."""
    experts: Any = object.__new__(_experts_class())
    attributes = {"is_monolithic": True, "owns_shared_experts": False, "can_overlap_shared_experts": False}
    kernel = SimpleNamespace(impl=SimpleNamespace(fused_experts=experts), output_is_reduced=lambda: False, **attributes)
    kernel.prepare_finalize = SimpleNamespace(topk_indices_dtype=lambda: None)
    return kernel


@cache
def _experts_class() -> type[Any]:
    """One class for every layer: a guard on a class of a layer's own would fail for the next layer."""
    return type("StandInExperts", (import_module(_MXFP4).TrtLlmMxfp4ExpertsBase,), {})
