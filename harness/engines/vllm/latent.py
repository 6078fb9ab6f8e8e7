"""Latent weaknesses: what a release would break if it had a kernel or a model that it does not have."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.engines.vllm.standin import sums_early, writes_narrow
from harness.engines.vllm.weights import NORMALISE
from harness.findings.finding import FINDINGS, LATENT

if TYPE_CHECKING:
    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo

REASON = "no kernel of this vLLM writes the true width, so its users cannot hit this yet"
NO_MODEL = "no model of this vLLM has a latent transform that is not linear, so its users cannot hit this yet"
NO_WIDTH = (
    "no published model has a latent width that this rule pads and such a transform, so users cannot hit this yet"
)


def mark_latent(
    answer: Callable[[int], dict[str, Any]], tasks: "Sequence[tuple[Case, ModeInfo]]"
) -> Callable[[int], dict[str, Any]]:
    """The same answers, but findings that need a kernel or a model that the release does not have are latent."""
    narrow, early = writes_narrow(), sums_early()

    def marked(index: int) -> dict[str, Any]:
        verdict, case = answer(index), tasks[index][0]
        reason = _reason(case, narrow, early, verdict) if verdict["status"] == FINDINGS else ""
        return verdict | {"status": LATENT, "reason": reason} if reason else verdict

    return marked


def _reason(case: "Case", narrow: bool, early: bool, verdict: dict[str, Any]) -> str:
    """Why no user can hit the findings of a case; empty where one can."""
    if case.kernel == "narrow" and not narrow:
        return REASON
    kinds = {finding["kind"] for finding in verdict["findings"]}
    sums_late = case.path in NORMALISE and not early
    return NO_MODEL if sums_late and kinds <= {"collective-count", "wrong-values"} else ""
