"""Recompiles: a second call does not recompile, and a trace does not fix a dynamic token count."""

from dataclasses import replace

from harness.execution.evidence import Run
from harness.findings.finding import Finding
from harness.findings.fixed_tokens import fixes, stage_of


def look(run: Run) -> list[Finding] | None:
    """A finding for a second graph, or for a dynamic token count that the trace fixed or restricted."""
    if run.specialised is not None:
        what = f"the trace holds only where {run.specialised}"
        finding = _finding("specialised", what, _fixed(run), run)
        stage = stage_of(run.specialised_by, run.calls[-1].records)
        return [replace(finding, stage=stage, line=run.specialised_at)]
    if run.graphs is None:
        return [] if run.mode == "fake-dynamic" else None
    present = {tuple(tensor is not None for tensor in call.inputs) for call in run.calls}
    # An optional input that is absent is another kind of call. Code for a range of token counts is Inductor's choice.
    if len(run.graphs) > len(present) and not run.failed and not run.split_by_backend:
        what = f"{len(run.graphs)} graphs were compiled for {len(run.calls)} calls; expected {len(present)}"
        reason = f" Dynamo's reason: {run.recompiled_for}." if run.recompiled_for else ""
        return [_finding("recompiled", what, _RECOMPILED + reason, run)]
    return []


def _fixed(run: Run) -> str:
    """What restricts the token count, the layer or the fake of one of its ops."""
    if run.specialised_by_torch and not run.specialised_by:
        return _ASKED
    return fixes(run.specialised_by, run.specialised_at)


_ASKED = (
    "Torch asks in this line whether a size that follows from the token count is 0 or 1, such as the rows of a rest, or "
    "equals another one, such as a pitch that is rounded up. So other batch sizes compile again."
)
_RECOMPILED = (
    "A guard of the first graph failed at a later call: the graph depends on a value that changes between calls."
)


def _finding(kind: str, what: str, cause: str, run: Run) -> Finding:
    return Finding(observer="recompiles", kind=kind, stage="layer", what=what, cause=cause, call=run.calls[-1].label)
