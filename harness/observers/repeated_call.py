"""Repeated call: the first inputs, run again after other calls and under inference mode, give the same bits."""

from torch import Tensor

from harness.execution.evidence import REPEATED, Call, Run
from harness.findings.finding import Finding


def look(run: Run) -> list[Finding] | None:
    """A finding where the bits differ. Whether they are correct is the values observer's question."""
    repeated = next((call for call in run.calls if call.label == REPEATED and call.error is None), None)
    if repeated is None or not isinstance(repeated.snapshot, Tensor) or not isinstance(run.calls[0].snapshot, Tensor):
        return None
    return [] if run.repeats else [_finding(run.calls[0], repeated)]


def _finding(first: Call, repeated: Call) -> Finding:
    assert first.snapshot is not None
    assert repeated.snapshot is not None
    same = first.snapshot.shape == repeated.snapshot.shape
    worst = f", by up to {(repeated.snapshot.float() - first.snapshot.float()).abs().max():.2g}" if same else ""
    return Finding(
        observer="repeated call",
        kind="not-repeatable",
        stage="layer",
        what=f"the first inputs give another output when they are run again{worst}",
        cause="The layer reuses something of earlier calls, draws random numbers, adds in no fixed order, or depends on grad, "
        "inference or training mode.",
        call=repeated.label,
    )
