"""Which tokens and columns of a varied call's output are wrong, and by how much."""

import torch

from harness.execution import stages
from harness.execution.difference import Difference, ranges, right_tokens
from harness.execution.evidence import WHEN_RETURNED, Call, Run
from harness.observers.values import diagnose, difference_of, noted_stage
from harness.observers.variations.causes import IN_GROUPS, takes_no_ids
from harness.ops.finite import all_finite


def difference(run: Run, call: Call) -> tuple[str, str]:
    """(stage, which tokens and columns are wrong and by how much) of a call's output."""
    assert call.snapshot is not None
    if not all_finite(call.snapshot):
        bad = ~torch.isfinite(call.snapshot)
        rows, width = bad.any(1).nonzero().flatten().tolist(), bad.any(0).nonzero().flatten().tolist()
        value = "NaN" if call.snapshot.isnan().any() else "infinite"
        where = f"in {_some(width, bad.shape[1], 'column')}"
        return _stage_of_nan(run, call), f"{_some(rows, call.tokens, 'token')} {_be(rows)} {value}, {where}"
    found = difference_of(call)
    assert found is not None
    stage = _stage(run, call, found)
    tokens = _some(found.tokens, call.tokens, "token")
    columns = _some(found.columns, found.width, "column")
    by = found.by("the right output's" if call.reference else "the oracle's")
    return stage, f"{tokens} {_be(found.tokens)} wrong, in {columns}, {by}"


def _stage_of_nan(run: Run, call: Call) -> str:
    """The part in whose output alone NaN begins, out of no NaN, where it is one of the experts' op; else no part alone."""
    first = call.first_nan
    if first and first.unwritten and not call.outside:
        return stages.PAD
    if first is None or first.tail or first.reads_nan or first.is_later or first.weight or call.outside:
        return "layer"
    if first.op != next(iter(run.ops), None):
        return "layer"
    if run.routed_output is None or first.outputs == (run.routed_output,):
        return stages.EXPERTS
    has_shared = run.case.shared is not None and {run.routed_output, *first.outputs} == {0, 1}
    return stages.SHARED if has_shared and len(first.outputs) == 1 else "layer"


def _stage(run: Run, call: Call, found: Difference) -> str:
    """The stage that a difference points to, without what the calls rule out."""
    if call.same_shards or call.outside:
        return "layer"  # no part of it alone
    if call.not_run:
        return call.not_run
    if call.reference == WHEN_RETURNED:
        return stages.OUTPUT
    if call.other_routing or call.misrouted:
        return stages.ROUTER
    if noted := noted_stage(call):
        return noted
    kind, stage, _ = diagnose(run.case_of(call), found)
    if _is_anywhere(call, kind, stage, len(found.factors)):
        return "layer"
    if stage in (stages.SCALING, stages.REDUCE) and (
        _of_contents(call) or not found.explained or _some_are_right(call)
    ):
        # One number scales all tokens, whatever they hold. And the plain call is right, so it is not that number that is wrong.
        return stages.EXPERTS
    # What gives 1/tp of what it should may be the experts as well as a reduction, which the plain call has.
    return "layer" if stage == stages.REDUCE else stage


def _is_anywhere(call: Call, kind: str, stage: str, parts: int) -> bool:
    """Whether a difference may come from more than its stage: from a router, an earlier call, another rank."""
    name = call.varied.name if call.varied else ""
    if name in IN_GROUPS and takes_no_ids(call):
        return stage in (stages.EXPERTS, stages.SCALING)
    return name.startswith(("before=", "ranks=")) and kind == "wrong-values" and parts > 1


def _of_contents(call: Call) -> bool:
    return call.varied is not None and call.varied.group == "content"


def _some_are_right(call: Call) -> bool:
    """Whether some token is right by itself, whatever the factor of all tokens is."""
    assert call.snapshot is not None
    assert call.expected is not None
    return bool(right_tokens(call.snapshot, call.expected).any())


def _some(places: list[int], count: int, what: str) -> str:
    """``1 of 65 tokens (64)``; ``all 7 tokens``."""
    if len(places) == count:
        return f"all {count:,} {what}s" if count > 1 else f"the only {what}"
    return f"{len(places):,} of {count:,} {what}s ({ranges(places)})"


def _be(places: list[int]) -> str:
    return "are" if len(places) > 1 else "is"
