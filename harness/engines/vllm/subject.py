"""The subject ``vllm``: the MoE layer of the vLLM that is importable here."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.base.errors import BadInput, Skip
from harness.base.loading import without_collections
from harness.engines.released.ranks import here
from harness.engines.vllm.oracle import oracle
from harness.engines.vllm.paths.on_input import ON_INPUT
from harness.engines.vllm.routing import BATCHED, MODULAR, logits_of, marked
from harness.engines.vllm.weights import DEFERS, NORMALISE
from harness.matrix.case import Case

if TYPE_CHECKING:
    from harness.engines.vllm.engine import Engine

_JUDGING = ("harness.verdict.judge", "harness.verdict.bisect")
QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "VLLM_PLUGINS": "", "HF_HUB_OFFLINE": "1"}

# The release's reference buffers have a fixed number of rows for each expert.
TOKENS = dict.fromkeys(BATCHED, ("tokens<=1040",))


@cache
def _engine() -> "Engine":
    """The process's vLLM, once per process, since it keeps its state in globals."""
    with _usable():
        import_engine()
        from harness.engines.vllm.engine import Engine

        return Engine(here())


@cache
def import_engine() -> None:
    """Import vLLM and what judges its layer, and start nothing of it. Raises BadInput without a usable vLLM."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with _usable():
        import harness.engines.vllm.standin  # noqa: F401 - checks that this vLLM has its base classes
        from harness.engines.vllm import engine, layer  # noqa: F401

        for module in engine.IMPORTED:
            import_module(module)
    for module in _JUDGING:
        import_module(module)


@contextmanager
def _usable() -> Iterator[None]:
    """Raises BadInput for what vLLM raises inside a ``with`` block."""
    try:
        with without_collections():
            yield
    except (ImportError, AttributeError) as error:
        raise BadInput(
            f"this vLLM cannot be used: {type(error).__name__}: {error}; --vllm PATH judges a source tree, and "
            "--subject vllm==0.24.0 a release"
        ) from error


class VllmLayer:
    """vLLM's layer, its inputs and its oracle, as a ``harness.subjects.subject.Subject``. Raises BadInput without a usable vLLM."""

    layer_of = "vLLM"

    def __init__(self) -> None:
        self.engine = _engine()  # here, so that an unusable vLLM is reported before any case runs

    def declares(self, case: Case) -> tuple[str, ...]:
        """What is right for this layer only.

        vLLM's loader writes the weights and then prepares them; graphs are captured from the largest batch on. An error in a
        forward ends the engine process, so that the shared expert's output, which it leaves in the runner, meets no call.
        """
        # A transform that does not commute with the sum over ranks needs the routed output summed before it, and the shared
        # output apart from it.
        reduces = ("reduces=2",) if case.path in NORMALISE else ("reduces=0",) if case.path == DEFERS else ()
        return ("no-state-dict", "largest-first", "errors-end", *reduces, *TOKENS.get(case.path, ()))

    def build(self, case: Case, device: torch.device) -> "torch.nn.Module":
        """Build vLLM's own layer. Raises Skip if this vLLM or this process cannot run the case."""
        from harness.engines.vllm.layer import Layer

        if case.tp not in (1, self.engine.ranks.size):
            raise Skip(
                f"tensor-parallel size {case.tp} needs as many processes, and this worker has {self.engine.ranks.size}"
            )
        if case.latent and "routed_input_transform" not in self.engine.takes:
            raise Skip(f"vLLM {self.engine.version} has no latent transforms")
        if case.path and not self.engine.has_paths:
            raise Skip(f"vLLM {self.engine.version} has another runner, in which this path is not known to the harness")
        if case.path == DEFERS and not self.engine.can_defer:
            raise Skip(f"vLLM {self.engine.version} has no layer that leaves its last sum over the ranks to the model")
        if case.path in ON_INPUT and "apply_router_weight_on_input" not in self.engine.takes:
            raise Skip(f"vLLM {self.engine.version} puts no routing weights on the experts' input")
        return Layer(self.engine, case)

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[Tensor, ...]:
        """hidden_states [tokens, hidden], and router logits [tokens, experts] fp32 unless the runner has the gate."""
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.randn(tokens, case.hidden, generator=generator).to(getattr(torch, case.dtype))
        if case.path == "vllm-gate":
            return (hidden.to(device),)
        logits = torch.randn(tokens, case.experts, generator=generator)
        if case.path in MODULAR:
            logits = marked(logits, self._names_twice(case), skewed=seed % 2 == 1)
        return hidden.to(device), (logits_of(logits, tokens) if case.path == "vllm-padded-rows" else logits).to(device)

    def _names_twice(self, case: Case) -> bool:
        """Whether a row may name one expert twice: not where the release's own finalize raises on it."""
        from harness.engines.vllm.standin import sums_slots

        return case.path not in BATCHED or sums_slots()

    def oracle(self, case: Case, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``routed`` and, where there is a shared expert, ``shared``, fp32."""
        return oracle(case, inputs[0], inputs[1] if len(inputs) > 1 else None)

    def anew(self) -> AbstractContextManager[None]:
        """As in a process that has asked for no workspace yet; see ``Rig.anew``."""
        from harness.engines.vllm.engine import other_workspaces

        return other_workspaces()

    def ops(self, case: Case) -> Sequence[str]:
        """The op around the routed experts. If there is a shared expert, the op runs it too."""
        return ("vllm::moe_forward_shared[1]" if case.shared else "vllm::moe_forward",)
