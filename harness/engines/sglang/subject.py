"""The subject ``sglang``: the MoE layer of the SGLang that is importable here."""

import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.base.errors import BadInput, Skip
from harness.base.loading import without_collections
from harness.engines.released.ranks import here
from harness.engines.sglang import stubs
from harness.engines.sglang.engine import OPS
from harness.engines.sglang.kernel import NAME
from harness.engines.sglang.weights import in_block, oracle
from harness.matrix.case import Case

if TYPE_CHECKING:
    from harness.engines.sglang.engine import Engine

QUIET = {"HF_HUB_OFFLINE": "1", "SGLANG_LOG_LEVEL": "error", "CUDA_VISIBLE_DEVICES": ""}


@cache
def _engine() -> "Engine":
    """The process's SGLang, once per process, since it keeps its state in globals."""
    try:
        with without_collections():
            stubs.install()
            from harness.engines.sglang.engine import Engine

            return Engine(here())
    except (ImportError, AttributeError, TypeError) as error:
        raise BadInput(
            f"this SGLang cannot be used: {type(error).__name__}: {error}; --subject sglang@PATH judges a source tree, and "
            "--subject sglang==0.5.23 a release"
        ) from error


class SglangLayer:
    """SGLang's layer, its inputs and its oracle, as a ``Subject``. Raises BadInput without a usable SGLang."""

    layer_of = "SGLang"

    def __init__(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self.engine = _engine()  # here, so that an unusable SGLang is reported before any case runs

    def declares(self, case: Case) -> tuple[str, ...]:
        """What is right for this layer only.

        SGLang's loader writes the weights, graphs are captured from the largest batch on, and a model is traced as a whole.
        """
        return ("no-state-dict", "largest-first", "traced-whole")

    def build(self, case: Case, device: torch.device) -> "torch.nn.Module":
        """Build SGLang's own layer. Raises Skip if this SGLang or this process cannot run the case."""
        from harness.engines.sglang.layer import Layer

        if case.tp not in (1, self.engine.ranks.size):
            raise Skip(
                f"tensor-parallel size {case.tp} needs as many processes, and this worker has {self.engine.ranks.size}"
            )
        return Layer(self.engine, case)

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, ...]:
        """hidden_states [tokens, hidden]. The block has the router."""
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(tokens, case.hidden, generator=generator).to(device, getattr(torch, case.dtype)),)

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``routed`` and, where there is a shared expert, ``shared``, fp32."""
        return oracle(case, inputs[0])

    def ops(self, case: Case) -> Sequence[str]:
        """The op of piecewise graphs around the routed experts; the kernel's where the case is not traced."""
        return (NAME if case.path.startswith("sglang-plain") else OPS[in_block(case)],)
