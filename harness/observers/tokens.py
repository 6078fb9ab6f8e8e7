"""Tokens: a batch of one and a batch of none work. A tensor of no rows has a null pointer; one row has free strides."""

from harness.execution.evidence import Call, Run
from harness.findings.finding import Finding
from harness.observers.values import comparable, difference_of


def look(run: Run) -> list[Finding] | None:
    """A finding where one token gives other values than the oracle; a call that raised is told by its exception."""
    small = [call for call in run.calls if call.tokens <= 1]
    if not small:
        return None
    wrong = [call for call in small if any(call is other for other in comparable(run)) and difference_of(call)]
    first = run.calls[0]
    right = any(first is call for call in comparable(run)) and not difference_of(first)
    return [_finding(call) for call in wrong if right and call is not first]


def _finding(call: Call) -> Finding:
    return Finding(
        observer="tokens",
        kind="few-tokens",
        stage="layer",
        what=f"{call.label}: the output differs from the oracle",
        cause="The layer is right for more tokens and wrong for this few"
        + (", or it looks at grad mode, which was on in this call." if call.with_grad else "."),
        call=call.label,
    )
