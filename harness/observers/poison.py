"""Poison: padding and memory that nothing wrote hold NaN; none of it may reach the output."""

import torch
from torch import Tensor

from harness.execution import stages
from harness.execution.difference import ranges
from harness.execution.evidence import Call, Run, all_finite
from harness.findings.finding import Finding


def look(run: Run) -> list[Finding] | None:
    """One finding for the first call whose output is not finite."""
    calls = [
        call for call in run.calls if isinstance(call.snapshot, Tensor) and call.tokens and call.expected is not None
    ]
    if not calls:
        return None
    return next(
        ([_finding(run, call)] for call in calls if call.snapshot is not None and not all_finite(call.snapshot)), []
    )


def _finding(run: Run, call: Call) -> Finding:
    assert call.snapshot is not None
    spoilt = ~torch.isfinite(call.snapshot)
    columns, tokens = (spoilt.any(side).nonzero().flatten().tolist() for side in (0, 1))
    width = call.snapshot.shape[-1]
    first_was_clean = call is not run.calls[0] and run.mode == "eager"
    never = call.replayed and len(columns) == width
    cause = "Memory that nothing wrote was read: a torch.empty that is not filled, or a kernel that skips its tail."
    if first_was_clean:
        cause = f"What the kernel leaves in the padded tail (columns {run.case.width} and on) reached the output."
    if never:
        cause = "The replay left the output buffer unwritten, or read memory that nothing wrote."
    if call.filled:
        cause = (
            f"The rows that fill the batch up to its captured size ({call.filled} of {call.tokens + call.filled}) hold "
            "NaN, and reach the other tokens: by a sum, a maximum or a count over all rows."
        )
    return Finding(
        observer="poison",
        kind="padding-tokens-leak" if call.filled else "padding-leaks" if first_was_clean else "uninitialised",
        stage=stages.UNPAD if first_was_clean else stages.EXPERTS,
        what=f"columns {ranges(columns)} ({len(columns)} of {width}) are NaN{_in_some(tokens, call)}",
        cause=cause,
        call=call.label,
    )


def _in_some(tokens: list[int], call: Call) -> str:
    return "" if len(tokens) == call.tokens else f", in tokens {ranges(tokens)} of {call.tokens}"
