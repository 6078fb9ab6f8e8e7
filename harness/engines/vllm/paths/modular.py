"""Kernels for the modular path: the release's own prepare and finalize around experts written in torch. Importing it needs vLLM."""

from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.fused_moe import modular_kernel as mk
from vllm.model_executor.layers.fused_moe.config import FUSED_MOE_UNQUANTIZED_CONFIG
from vllm.model_executor.layers.fused_moe.fused_moe_modular_method import FusedMoEModularMethod
from vllm.model_executor.layers.fused_moe.prepare_finalize.no_dp_ep import MoEPrepareAndFinalizeNoDPEPModular
from vllm.model_executor.layers.fused_moe.topk_weight_and_reduce import TopKWeightAndReduceNoOP
from vllm.model_executor.layers.fused_moe.utils import _resize_cache

from harness.base.errors import Skip
from harness.engines.vllm.paths.on_input import ON_INPUT, Rows
from harness.engines.vllm.paths.scratch import Scratch, check_activation
from harness.engines.vllm.standin import StandIn, gated
from harness.execution.passed_on import note_fact, note_routing
from harness.ops.product import product

PACKAGE = "vllm.model_executor.layers.fused_moe"


class TorchExperts(mk.FusedMoEExpertsModular):  # type: ignore[misc]
    """Both products in torch, through the workspaces that the kernel is given, as vLLM's Triton experts use them.

    Other experts use more of each workspace: all that was asked for is written to as long as nothing is held there.
    """

    narrow_width: int | None = None
    """The true width, where the experts write no padded columns"""
    rows: Rows = Rows(on_input=False)

    @staticmethod
    def activation_format() -> Any:
        """Rows as they come."""
        return mk.FusedMoEActivationFormat.Standard

    def supports_expert_map(self) -> bool:
        """Unused, and abstract in releases up to 0.23."""
        return False

    def output_hidden_dim(self, hidden_dim: int) -> int:
        """The width that the experts write."""
        return self.narrow_width or hidden_dim

    def finalize_weight_and_reduce_impl(self) -> Any:
        """The experts weight and sum."""
        return TopKWeightAndReduceNoOP()

    def workspace_shapes(self, M: int, N: int, K: int, topk: int, *more: Any) -> tuple[tuple[int, ...], ...]:
        """Two workspaces of a row for each token and slot, and the output."""
        return (M, topk, max(N // 2, K)), (M, topk, max(N, K)), (M, self.output_hidden_dim(K))

    def apply(self, output: Tensor, hidden_states: Tensor, w1: Tensor, w2: Tensor, **more: Any) -> None:
        """[T, W] to ``output`` [T, W]. An id of -1 names no expert."""
        check_activation(more["activation"])
        scratch = Scratch(self, hidden_states, w1, w2, output, more)
        scratch.use("workspace13", "workspace2")
        weights, ids = more["topk_weights"], more["topk_ids"]
        note_routing("used", weights, ids)
        self.rows.check(hidden_states, weights)
        weights = self._not_yet_on(weights, more["apply_router_weight_on_input"])
        (count, slots), inner = ids.shape, w1.shape[1]
        up = _resize_cache(more["workspace2"], (count, slots, inner)).zero_()
        for expert, weight in enumerate(w1):
            up += torch.where((ids == expert)[..., None], product(hidden_states, weight)[:, None], 0)
        self.after_up(up, hidden_states, ids, w1, w2)
        middle = _resize_cache(more["workspace13"], (count, slots, inner // 2)).copy_(gated(up.float()))
        down = _resize_cache(more["workspace2"], (count, slots, w2.shape[1])).zero_()
        for expert, weight in enumerate(w2):
            share = (weights * (ids == expert))[..., None]
            down += (share * product(middle, weight).float()).to(down.dtype)
        self.after_down(down, middle, weights, ids, w1, w2)
        scratch.use("workspace13")  # the output may lie here, and what is summed may not
        output.copy_(down.float().sum(1)[:, : output.shape[1]])
        scratch.use("workspace2")

    def _not_yet_on(self, weights: Tensor, on_input: bool) -> Tensor:
        """The weights for the output: ones where the routing weights are on the input already."""
        self.rows.check_told(on_input)
        return torch.ones_like(weights) if on_input else weights

    def after_up(self, up: Tensor, hidden_states: Tensor, ids: Tensor, w1: Tensor, w2: Tensor) -> None:
        """For what is added to the first product."""

    def after_down(self, down: Tensor, middle: Tensor, weights: Tensor, ids: Tensor, w1: Tensor, w2: Tensor) -> None:
        """For what is added to the second product, after it was weighted."""


class ModularStandIn(StandIn):
    """A quantisation method with a modular kernel, whose ``apply`` is the release's own."""

    experts: type[TorchExperts] = TorchExperts
    disable_expert_map = False  # read by the release's ``apply`` up to 0.23

    @property
    def is_monolithic(self) -> bool:
        """The runner selects the experts."""
        return False

    def process_weights_after_loading(self, layer: Any) -> None:
        """Pad the weights, and make the kernel."""
        super().process_weights_after_loading(layer)
        self.rows = Rows(self.case.path in ON_INPUT)
        self.moe_kernel = self.kernel()

    def get_fused_moe_quant_config(self, layer: nn.Module) -> Any:
        """No quantisation."""
        return FUSED_MOE_UNQUANTIZED_CONFIG

    def kernel(self) -> Any:
        """The release's kernel around the experts. Raises Skip where its experts cannot write the true width."""
        experts = self.experts(self.moe, FUSED_MOE_UNQUANTIZED_CONFIG)
        experts.rows = self.rows
        if self.case.kernel == "narrow":
            if not hasattr(mk.FusedMoEExpertsModular, "output_hidden_dim"):
                raise Skip("no modular kernel of this vLLM writes the true width")
            experts.narrow_width = self.case.width
        return mk.FusedMoEKernel(MoEPrepareAndFinalizeNoDPEPModular(), experts)

    def apply(self, *args: Any, **kwargs: Any) -> Tensor:
        """[T, padded] to [T, padded], or [T, width] for a narrow kernel."""
        if "topk_weights" in kwargs and "topk_ids" in kwargs:
            note_routing("given", kwargs["topk_weights"], kwargs["topk_ids"])
            if (slots := kwargs["topk_ids"].shape[-1]) != self.case.top_k:
                note_fact(f"Experts for each token: {slots}; expected {self.case.top_k}.", of_routing=True)
        self.rows.note(kwargs.get("x", args[1] if len(args) > 1 else None))
        out: Tensor = FusedMoEModularMethod.apply(self, *args, **kwargs)
        return out


_ABSTRACT = ("current_device", "no_act_and_mul", "quant_scheme", "activation", "parallel_config")
for _name in _ABSTRACT:  # what an oracle asks before it chooses a kernel; here none does
    setattr(TorchExperts, f"_supports_{_name}", staticmethod(lambda *args: True))
TorchExperts.__abstractmethods__ = frozenset()
