"""Repeated call: the first inputs again, after other calls and under inference mode, give the same bits."""

from torch import Tensor

from harness.execution.evidence import REPEATED, Call, Run
from harness.findings.finding import Finding


def look(run: Run) -> list[Finding] | None:
    """A finding where the bits are others; where the first call is wrong too, that is told by others."""
    again = next((call for call in run.calls if call.label == REPEATED and call.error is None), None)
    if again is None or not isinstance(again.snapshot, Tensor) or not isinstance(run.calls[0].snapshot, Tensor):
        return None
    return [] if run.repeats else [_finding(run.calls[0], again)]


def _finding(first: Call, again: Call) -> Finding:
    assert first.snapshot is not None
    assert again.snapshot is not None
    same = first.snapshot.shape == again.snapshot.shape
    worst = f", by up to {(again.snapshot.float() - first.snapshot.float()).abs().max():.2g}" if same else ""
    return Finding(
        observer="repeated call",
        kind="not-repeatable",
        stage="layer",
        what=f"the inputs of the first call give another output when they come again{worst}",
        cause="The layer keeps something of earlier calls, draws random numbers, or looks at grad or inference mode.",
        call=again.label,
    )
