"""The ranks of vLLM's layer: those of every engine, with the findings that no user can hit marked as latent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.engines.released import ranks
from harness.engines.vllm.released import IMPORTS

if TYPE_CHECKING:
    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo


def start(settings: dict[str, Any]) -> ranks.Answer:
    """In a worker: what one process answers, with more processes for cases with more ranks. Raises BadInput."""
    return ranks.start(settings, _marked, IMPORTS)


def _marked(answer: ranks.Answer, tasks: "Sequence[tuple[Case, ModeInfo]]") -> ranks.Answer:
    from harness.engines.vllm.latent import mark_latent  # imports vLLM, which the subject must have configured

    return mark_latent(answer, tasks)
