"""Latent weaknesses: what a narrow kernel would break in a release that has no kernel writing the true width."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.engines.vllm.standin import writes_narrow
from harness.findings.finding import FINDINGS, LATENT

if TYPE_CHECKING:
    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo

REASON = "no kernel of this vLLM writes the true width, so its users cannot hit this yet"


def mark_latent(
    answer: Callable[[int], dict[str, Any]], tasks: "Sequence[tuple[Case, ModeInfo]]"
) -> Callable[[int], dict[str, Any]]:
    """The same answers, but findings of narrow-kernel cases are latent if no kernel of the release is narrow."""
    if writes_narrow():
        return answer

    def marked(index: int) -> dict[str, Any]:
        verdict = answer(index)
        latent = tasks[index][0].kernel == "narrow" and verdict["status"] == FINDINGS
        return verdict | {"status": LATENT, "reason": REASON} if latent else verdict

    return marked
