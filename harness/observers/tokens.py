"""Tokens: batches of one token and of none work.

Both are special: a tensor without rows has a null pointer, and the stride of a single row means nothing.
"""

from harness.execution import stages
from harness.execution.evidence import Call, Run
from harness.findings.finding import Finding
from harness.observers.second_call import OUTSIDE
from harness.observers.values import comparable, difference_of


def look(run: Run) -> list[Finding] | None:
    """A finding where few tokens differ from the oracle although the first call does not. ``explain`` reports a call that raised."""
    small = [call for call in run.plain_calls if call.tokens <= 1]
    if not small:
        return None
    compared = comparable(run)
    wrong = [call for call in small if any(call is other for other in compared) and difference_of(call)]
    first = run.calls[0]
    correct = any(first is call for call in compared) and not difference_of(first)
    return [_finding(first, call) for call in wrong if correct and call is not first]


def _finding(first: Call, call: Call) -> Finding:
    return Finding(
        observer="tokens",
        kind="stale" if call.outside else "torch-mode" if call.by_grad else "few-tokens",
        stage=stages.ROUTER if call.misrouted else stages.PAD if call.mispadded else "layer",
        what=f"{call.label}{', in grad mode' * call.by_grad}: the output differs from the oracle",
        cause=" ".join((f"The layer is correct for {first.tokens} tokens. {_cause(call)}", *call.facts)),
        call=call.label,
    )


def _cause(call: Call) -> str:
    """Why few tokens are wrong, as far as a fresh layer shows it."""
    grad = ", or depends on grad mode, which was on in this call" if call.with_grad else ""
    if call.outside:
        return OUTSIDE
    if call.by_grad:
        return (
            "A fresh layer is right for the same token without grad mode: with it the layer takes another path, such as one for "
            "training."
        )
    if call.by_row:
        return (
            "The same row as often as that is wrong too: it is not the batch size that matters, but what the row holds, or that "
            "some experts get no token. What belongs to an expert may be taken by its place among those that are chosen."
        )
    if call.fresh_differs:
        return f"A fresh layer is wrong for {call.tokens} too, so it is the batch size that matters, or this token."
    if call.fresh_differs is False:
        return f"A fresh layer is right for {call.tokens}: this one reuses something of an earlier call."
    return f"It is wrong for {call.tokens}, or reuses something of an earlier call{grad}."
