"""Dispatch: the custom ops that the subject names really ran. Some engines bypass them on a CPU."""

from harness.execution import stages
from harness.execution.evidence import Run
from harness.findings.finding import Finding


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
        cause="The op runs, but the layer computes its output without the op's result, so testing the op says nothing of the layer.",
        call=run.calls[0].label,
    )


def _finding(op: str, mode: str) -> Finding:
    return Finding(
        observer="dispatch",
        kind="never-dispatched",
        stage=stages.EXPERTS,
        what=f"{op} was never dispatched",
        cause=f"In mode {mode} the layer bypasses this op, so neither its kernel nor its fake was tested.",
    )
