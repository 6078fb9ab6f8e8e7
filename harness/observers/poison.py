"""Poison: the padded tail and memory that nothing wrote hold NaN, and no NaN may reach the output."""

import torch
from torch import Tensor

from harness.execution import stages
from harness.execution.difference import ranges
from harness.execution.evidence import Call, FirstNaN, Run
from harness.findings.finding import Finding
from harness.findings.readers.capturing import UNWRITTEN_IN_CAPTURE
from harness.ops.finite import all_finite


def look(run: Run) -> list[Finding] | None:
    """One finding for the first call whose output is not finite."""
    calls = [
        call
        for call in run.plain_calls
        if isinstance(call.snapshot, Tensor) and call.tokens and call.expected is not None
    ]
    if not calls:
        return None
    return next(
        ([_finding(run, call)] for call in calls if call.snapshot is not None and not all_finite(call.snapshot)), []
    )


def _finding(run: Run, call: Call) -> Finding:
    assert call.snapshot is not None
    bad = ~torch.isfinite(call.snapshot)
    columns, tokens = (bad.any(dim).nonzero().flatten().tolist() for dim in (0, 1))
    width = call.snapshot.shape[-1]
    after_first = call is not run.calls[0] and run.mode == "eager"
    return Finding(
        observer="poison",
        kind="other-graphs-memory"
        if call.unwritten
        else "padding-tokens-leak"
        if call.padding_rows
        else "padding-leaks"
        if after_first
        else "uninitialised",
        stage=stages.UNPAD if after_first else stage_of_nan(run.first_nan),
        what=(f"{call.unwritten}; " if call.unwritten else "")
        + f"columns {ranges(columns)} ({len(columns)} of {width}) are {_values(call.snapshot)}{_in_tokens(tokens, call)}"
        + _first(run),
        cause=_cause(run, call, whole=len(columns) == width),
        call=call.label,
        line=call.unwritten.line if call.unwritten else run.first_nan.line if run.first_nan else None,
    )


def _first(run: Run) -> str:
    """The op and the rows where NaN first appeared, as text; empty where that is not known."""
    first = run.first_nan
    if first is None:
        return ""
    rows = f"row {ranges(list(first.rows))}" if len(first.rows) == 1 else f"rows {ranges(list(first.rows))}"
    where = f"in the output of {first.op}, {rows} of {first.count}"
    if first.is_later:
        return f"; NaN is seen {where}, and may come from an op before it, in whose output no row is a token's"
    return f"; NaN {'is seen' if first.tail or first.reads_nan else 'first appeared'} {where}"


def _cause(run: Run, call: Call, whole: bool) -> str:
    """The causes that fit; ``whole`` says that every column is bad."""
    first = run.first_nan
    if call.unwritten:
        return UNWRITTEN_IN_CAPTURE
    if first and first.weight:
        return f"The layer's {first.weight} holds NaN when the layer is built: memory that nothing wrote, or NaN in its weights."
    if call.padding_rows:
        rows = f"The {call.padding_rows} padding rows of this batch of {call.tokens + call.padding_rows} hold NaN."
        return f"{rows} They reach the other tokens, as by a sum or a maximum over all rows, or {_UNWRITTEN}. {_TIMES}"
    if call.began_as_nan and whole:
        return f"The replay did not write the output buffer, or {_UNWRITTEN}."
    if call.poisoned:
        return f"This call's padded tail (columns {run.case.width} and on) holds NaN, and it reached the output."
    if first and first.tail:
        return f"{_of_tail(first, run.case.width)} {_TIMES}"
    if first and not first.reads_nan:
        either = "it left memory unwritten, or its arithmetic overflowed or divided by zero"
        return f"No input of {first.op} holds NaN: {either}. {_TIMES}"
    if first:
        return f"{first.op} reads memory that nothing wrote, such as an unfilled torch.empty. {_TIMES}"
    return f"{_UNWRITTEN[0].upper()}{_UNWRITTEN[1:]}, or the arithmetic overflowed or divided by zero."


def stage_of_nan(first: FirstNaN | None) -> str:
    """The pad, where its columns were left unwritten; else the routed experts."""
    return stages.PAD if first and first.unwritten else stages.EXPERTS


def _of_tail(first: FirstNaN, width: int) -> str:
    """What is known of the padded columns that an op was given."""
    given = f"{first.op} is given rows whose padded columns ({width} and on) hold NaN"
    if first.unwritten:
        return f"{given}: their memory was made without contents, and nothing wrote these columns."
    return f"{given}: what made these rows read memory that nothing wrote, overflowed or divided by zero."


_UNWRITTEN = "memory that nothing wrote was read: an unfilled torch.empty, or the tail that a kernel skips"


_TIMES = "A weight or a mask of 0 does not hide it: 0 x NaN is NaN, and torch.where is needed."


def _values(snapshot: Tensor) -> str:
    kinds = (("NaN", torch.isnan), ("infinite", torch.isinf))
    return " or ".join(name for name, is_kind in kinds if is_kind(snapshot).any())


def _in_tokens(tokens: list[int], call: Call) -> str:
    return "" if len(tokens) == call.tokens else f", in tokens {ranges(tokens)} of {call.tokens}"
