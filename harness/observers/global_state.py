"""Global state: a call changes no global switch of torch and draws no random numbers."""

from harness.execution.evidence import Run
from harness.findings.finding import Finding


def look(run: Run) -> list[Finding] | None:
    """One finding for the first recorded call that changed global state."""
    calls = [call for call in run.calls if call.error is None and call.routed is not None]
    if not calls:
        return None
    return next(([_finding(call.label, call.changed_global_state)] for call in calls if call.changed_global_state), [])


def _finding(label: str, changed: tuple[str, ...]) -> Finding:
    return Finding(
        observer="global state",
        kind="global-state",
        stage="layer",
        what=f"the call changed global state: {', '.join(changed)}",
        cause="Code that runs after the layer behaves differently, and a compiled or replayed layer may not repeat the change.",
        call=label,
    )
