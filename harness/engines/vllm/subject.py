"""The subject ``vllm``: the MoE layer of the vLLM that is importable here."""

import gc
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.base.errors import BadInput, Skip
from harness.engines.vllm.ranks import here
from harness.engines.vllm.weights import oracle
from harness.matrix.case import Case

if TYPE_CHECKING:
    from harness.engines.vllm.engine import Engine

QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "VLLM_PLUGINS": "", "HF_HUB_OFFLINE": "1"}


@cache
def _engine() -> "Engine":
    """The process's vLLM, once per process, since it keeps its state in globals."""
    gc.disable()  # importing vLLM makes a million objects, which the collector would scan many times
    try:
        import harness.engines.vllm.standin  # noqa: F401 - checks that this vLLM has its base classes
        from harness.engines.vllm.engine import Engine

        return Engine(here())
    except (ImportError, AttributeError) as error:
        raise BadInput(
            f"this vLLM cannot be used: {type(error).__name__}: {error}; --vllm PATH judges a source tree, and "
            "--subject vllm==0.24.0 a release"
        ) from error
    finally:
        gc.enable()


class VllmLayer:
    """vLLM's layer, its inputs and its oracle, as a ``harness.subjects.subject.Subject``. Raises BadInput without a usable vLLM."""

    # Its loader writes the weights and then prepares them; graphs are captured from the largest batch on. An error in a
    # forward ends vLLM's engine process, so that the shared expert's output, which it leaves in the runner, meets no call.
    declares = ("no-state-dict", "largest-first", "errors-end")

    def __init__(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self.engine = _engine()  # here, so that an unusable vLLM is reported before any case runs

    def build(self, case: Case, device: torch.device) -> "torch.nn.Module":
        """Build vLLM's own layer. Raises Skip if this vLLM or this process cannot run the case."""
        from harness.engines.vllm.layer import Layer

        if case.tp not in (1, self.engine.ranks.size):
            raise Skip(
                f"tensor-parallel size {case.tp} needs as many processes, and this worker has {self.engine.ranks.size}"
            )
        if case.latent and "routed_input_transform" not in self.engine.takes:
            raise Skip(f"vLLM {self.engine.version} has no latent transforms")
        return Layer(self.engine, case)

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """hidden_states [tokens, hidden] bf16 and router logits [tokens, experts] fp32."""
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.randn(tokens, case.hidden, generator=generator).bfloat16()
        return hidden.to(device), torch.randn(tokens, case.experts, generator=generator).to(device)

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``routed`` and, where there is a shared expert, ``shared``, fp32."""
        return oracle(case, inputs[0], inputs[1])

    def ops(self, case: Case) -> Sequence[str]:
        """The op around the routed experts. If there is a shared expert, the op runs it too."""
        return ("vllm::moe_forward_shared[1]" if case.shared else "vllm::moe_forward",)
