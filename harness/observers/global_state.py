"""Global state: a call leaves torch as it found it, and takes no random numbers."""

from harness.execution.evidence import Run
from harness.findings.finding import Finding


def look(run: Run) -> list[Finding] | None:
    """One finding for the first recorded call that left something changed."""
    calls = [call for call in run.calls if call.error is None and call.routed is not None]
    if not calls:
        return None
    return next(([_finding(call.label, call.left)] for call in calls if call.left), [])


def _finding(label: str, left: tuple[str, ...]) -> Finding:
    return Finding(
        observer="global state",
        kind="global-state",
        stage="layer",
        what=f"the call changed global state: {', '.join(left)}",
        cause="Whatever runs after this layer runs otherwise, and a compiled or replayed layer does not do it again.",
        call=label,
    )
