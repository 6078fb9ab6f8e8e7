"""Kernels for the modular path: the release's own prepare and finalize around experts written in torch. Importing it needs vLLM."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.fused_moe import modular_kernel as mk
from vllm.model_executor.layers.fused_moe.config import FUSED_MOE_UNQUANTIZED_CONFIG
from vllm.model_executor.layers.fused_moe.fused_moe_modular_method import FusedMoEModularMethod
from vllm.model_executor.layers.fused_moe.prepare_finalize.batched import BatchedPrepareAndFinalize
from vllm.model_executor.layers.fused_moe.prepare_finalize.no_dp_ep import MoEPrepareAndFinalizeNoDPEPModular
from vllm.model_executor.layers.fused_moe.topk_weight_and_reduce import TopKWeightAndReduceNoOP
from vllm.model_executor.layers.fused_moe.utils import _resize_cache

from harness.base.errors import Skip
from harness.engines.vllm.paths.scratch import Scratch, check_activation
from harness.engines.vllm.standin import StandIn, gated
from harness.execution.passed_on import note_fact, note_routing
from harness.ops.product import product

# The rows of each expert's buffer: more than any batch that the cases of this path have.
MOST_BATCHED = 1040
_CAPTURES = "_is_capturing_or_compiling"
_PACKAGE = "vllm.model_executor.layers.fused_moe"


class TorchExperts(mk.FusedMoEExpertsModular):  # type: ignore[misc]
    """Both products in torch, through the workspaces that the kernel is given, as vLLM's Triton experts use them.

    Other experts use more of each workspace: all that was asked for is written to as long as nothing is held there.
    """

    narrow_width: int | None = None
    """The true width, where the experts write no padded columns"""

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
        self.moe_kernel = self.kernel()

    def get_fused_moe_quant_config(self, layer: nn.Module) -> Any:
        """No quantisation."""
        return FUSED_MOE_UNQUANTIZED_CONFIG

    def kernel(self) -> Any:
        """The release's kernel around the experts. Raises Skip where its experts cannot write the true width."""
        experts = self.experts(self.moe, FUSED_MOE_UNQUANTIZED_CONFIG)
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
        out: Tensor = FusedMoEModularMethod.apply(self, *args, **kwargs)
        return out


class BatchedStandIn(ModularStandIn):
    """The release's reference kernel over a padded buffer for each expert."""

    def kernel(self) -> Any:
        """Its prepare, experts and finalize; only the activation is written here. Raises Skip for a narrow kernel."""
        if self.case.kernel == "narrow":
            raise Skip("vLLM's reference experts over batched buffers write the padded width")
        experts = _batched_experts()(self.moe, FUSED_MOE_UNQUANTIZED_CONFIG, MOST_BATCHED, 1)
        return mk.FusedMoEKernel(BatchedPrepareAndFinalize(MOST_BATCHED, self.case.experts, 1, 0), experts)


def _batched_experts() -> Any:
    try:
        module = import_module(f"{_PACKAGE}.experts.fused_batched_moe")
    except ModuleNotFoundError:
        module = import_module(f"{_PACKAGE}.fused_batched_moe")

    if not torch.accelerator.is_available() and hasattr(module, _CAPTURES):
        setattr(module, _CAPTURES, lambda: False)  # it asks an accelerator's stream

    class BatchedExperts(module.NaiveBatchedExperts):  # type: ignore[misc, name-defined]
        def activation(self, kind: Any, output: Tensor, input: Tensor, **more: Any) -> None:
            check_activation(kind)
            output.copy_(gated(input.float()))

        def apply(self, output: Tensor, hidden_states: Tensor, w1: Tensor, w2: Tensor, **more: Any) -> None:
            """The release's own, which writes to fewer rows of its second workspace than it asks for."""
            scratch = Scratch(self, hidden_states, w1, w2, output, more)
            scratch.use("workspace13", "workspace2")
            super().apply(output=output, hidden_states=hidden_states, w1=w1, w2=w2, **more)
            scratch.use("workspace2")

    return BatchedExperts


_ABSTRACT = ("current_device", "no_act_and_mul", "quant_scheme", "activation", "parallel_config")
for _name in _ABSTRACT:  # what an oracle asks before it chooses a kernel; here none does
    setattr(TorchExperts, f"_supports_{_name}", staticmethod(lambda *args: True))
TorchExperts.__abstractmethods__ = frozenset()
