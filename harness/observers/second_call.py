"""Second call: other inputs, other outputs, and the first output is left alone."""

from itertools import pairwise

from harness.execution import stages
from harness.execution.difference import TOLERANCE, Difference
from harness.execution.evidence import REPEATED, Call, Run, same_bits
from harness.findings.finding import Finding
from harness.observers.values import comparable, diagnose, difference_of


def look(run: Run) -> list[Finding] | None:
    """Findings of later calls that differ from the oracle although the first did not, and of an output that changed later."""
    calls = [call for call in comparable(run) if call.tokens > 1 and call.label != REPEATED]
    if len(calls) < 2:
        return None
    findings = _first_changed(run)
    if calls[0] is run.calls[0] and difference_of(calls[0]):
        return findings
    wrong = next(((call, found) for call in calls[1:] if (found := difference_of(call))), None)
    return findings + ([_stale(run, *wrong)] if wrong else [])


def _stale(run: Run, call: Call, difference: Difference) -> Finding:
    _, stage, _ = diagnose(run, difference)
    cause = "The first call was right and this one is not: the layer kept something of an earlier call."
    if call.tokens != run.calls[0].tokens:
        first = run.calls[0].tokens
        cause = (
            f"The layer kept something of an earlier call, or is right for {first} tokens and wrong for {call.tokens}."
        )
    if call.replayed:
        padding = ", or with the rows of padding" if call.filled else ""
        cause = (
            "The replay computes with something of the capture: a value, a buffer or a branch that the host fixed "
            f"then{padding}."
        )
    return Finding(
        observer="second call",
        kind="stale-replay" if call.replayed else "stale",
        stage=stage,
        what=f"columns {difference.ranges} differ from the oracle, at worst by {difference.worst:.2g} of its rms "
        f"(tolerance {TOLERANCE})",
        cause=cause,
        call=call.label,
        detail={"columns": len(difference.columns), "worst": difference.worst},
    )


def _first_changed(run: Run) -> list[Finding]:
    for call, later in pairwise(run.calls):
        if call.replayed or call.output is None or call.snapshot is None or same_bits(call.output, call.snapshot):
            continue
        what = f"the output of the {call.label} changed when the layer was called again"
        return [
            Finding(
                observer="second call",
                kind="output-overwritten",
                stage=stages.OUTPUT,
                what=what,
                cause="The layer gives out memory that it writes again at the next call.",
                call=later.label,
            )
        ]
    return []
