"""The release's reference kernel over padded buffers: its own prepare, experts and finalize. Importing it needs vLLM."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.layers.fused_moe import modular_kernel as mk
from vllm.model_executor.layers.fused_moe.config import FUSED_MOE_UNQUANTIZED_CONFIG
from vllm.model_executor.layers.fused_moe.prepare_finalize.batched import BatchedPrepareAndFinalize

from harness.base.errors import Skip
from harness.engines.vllm.paths.modular import PACKAGE, ModularStandIn
from harness.engines.vllm.paths.scratch import Scratch, check_activation
from harness.engines.vllm.standin import gated

# The rows of each expert's buffer: more than any batch that the cases of this path have.
MOST_BATCHED = 1040
_CAPTURES = "_is_capturing_or_compiling"


class BatchedStandIn(ModularStandIn):
    """The release's reference kernel over a padded buffer for each expert."""

    def kernel(self) -> Any:
        """Its prepare, experts and finalize; only the activation is written here. Raises Skip for a narrow kernel."""
        if self.case.kernel == "narrow":
            raise Skip("vLLM's reference experts over batched buffers write the padded width")
        experts = _batched_experts()(self.moe, FUSED_MOE_UNQUANTIZED_CONFIG, MOST_BATCHED, 1)
        experts.rows = self.rows
        return mk.FusedMoEKernel(BatchedPrepareAndFinalize(MOST_BATCHED, self.case.experts, 1, 0), experts)


def _batched_experts() -> Any:
    try:
        module = import_module(f"{PACKAGE}.experts.fused_batched_moe")
    except ModuleNotFoundError:
        module = import_module(f"{PACKAGE}.fused_batched_moe")

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
            self.rows.check_buffers(hidden_states, more["topk_weights"], more["topk_ids"])
            super().apply(output=output, hidden_states=hidden_states, w1=w1, w2=w2, **more)
            scratch.use("workspace2")

    return BatchedExperts
