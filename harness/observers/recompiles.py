"""Recompiles: a second call compiles nothing, and a dynamic token count is not fixed to one number."""

from harness.execution.evidence import Run
from harness.findings.finding import Finding


def look(run: Run) -> list[Finding] | None:
    """A finding for a second graph, or for a token symbol that the trace fixed."""
    if run.specialised is not None:
        return [_finding("specialised", f"the trace holds only where {run.specialised}", _FIXED, run)]
    if run.graphs is None:
        return [] if run.mode == "fake-dynamic" else None
    if len(run.graphs) > 1 and not run.failed:
        what = f"{len(run.graphs)} graphs were compiled for {len(run.calls)} calls; expected 1"
        return [_finding("recompiled", what, _AGAIN, run)]
    return []


_FIXED = "The layer decides on the token count in Python, so other batch sizes compile again, or run the wrong branch."
_AGAIN = "A guard failed that should hold: a value of the first call was burnt into the graph."


def _finding(kind: str, what: str, cause: str, run: Run) -> Finding:
    return Finding(observer="recompiles", kind=kind, stage="layer", what=what, cause=cause, call=run.calls[-1].label)
