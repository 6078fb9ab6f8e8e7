"""Dispatch: the custom ops that the subject names really ran. Some engines bypass them on a CPU."""

from harness.execution import stages
from harness.execution.evidence import Run
from harness.findings.finding import Finding
from harness.ops.names import composite


def look(run: Run) -> list[Finding] | None:
    """A finding for each named op that no call dispatched (eager, fake) or no graph holds (compiled)."""
    if run.failed or not run.ops or not (run.calls or run.graphs):
        return None
    if run.graphs is not None:
        dispatched = {op for graph in run.graphs for op in graph.ops}
    else:
        dispatched = {record.op for call in run.calls for record in call.records}
    absent = [_finding(op, run.mode) for op in run.ops if op not in dispatched]
    return absent or ([_unused(run)] if run.calls[0].routed is False else [])


def _unused(run: Run) -> Finding:
    return Finding(
        observer="dispatch",
        kind="unused",
        stage=stages.EXPERTS,
        what=f"the output does not come from {run.ops[0]}",
        cause=_COMPOSITE if composite(run.ops[0]) else _WITHOUT,
        call=run.calls[0].label,
    )


_WITHOUT = "The op runs, but the layer computes its output without the op's result, so testing the op says nothing of the layer."
_UNTESTED = "so neither its kernel nor its fake was tested."
_COMPOSITE = (
    "The op is registered as CompositeImplicitAutograd: torch takes it apart before a mode or a compiler sees it, so compiled "
    "code runs the ops inside it and never the kernel. Register it for each device, or as CompositeExplicitAutograd."
)


def _finding(op: str, mode: str) -> Finding:
    return Finding(
        observer="dispatch",
        kind="never-dispatched",
        stage=stages.EXPERTS,
        what=f"{op} was never dispatched",
        cause=_COMPOSITE if composite(op) else f"In mode {mode} the layer bypasses this op, {_UNTESTED}",
    )
