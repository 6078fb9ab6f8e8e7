"""Which tokens and columns of a varied call's output are wrong, and by how much."""

import torch

from harness.execution import stages
from harness.execution.difference import TOLERANCE, Difference, ranges
from harness.execution.evidence import WHEN_RETURNED, Call, Run
from harness.matrix.case import Case
from harness.observers.factors import near
from harness.observers.values import diagnose, difference_of
from harness.ops.finite import all_finite


def difference(run: Run, call: Call) -> tuple[str, str]:
    """(stage, which tokens and columns are wrong and by how much) of a call's output."""
    assert call.snapshot is not None
    if not all_finite(call.snapshot):
        bad = ~torch.isfinite(call.snapshot)
        rows, width = bad.any(1).nonzero().flatten().tolist(), bad.any(0).nonzero().flatten().tolist()
        value = "NaN" if call.snapshot.isnan().any() else "infinite"
        where = f"in {_some(width, bad.shape[1], 'column')}"
        return "layer", f"{_some(rows, call.tokens, 'token')} {_be(rows)} {value}, {where}"
    found = difference_of(call)
    assert found is not None
    stage = _stage(run, call, found)
    tokens = _some(found.tokens, call.tokens, "token")
    columns = _some(found.columns, found.width, "column")
    by = f"at worst by {found.worst:.2g} of the {'right output' if call.reference else 'oracle'}'s rms (tolerance {TOLERANCE})"
    return stage, f"{tokens} {_be(found.tokens)} wrong, in {columns}, {by}"


def _stage(run: Run, call: Call, found: Difference) -> str:
    """The stage that a difference points to, without what the calls rule out."""
    if call.same_shards or call.outside:
        return "layer"  # no part of it alone
    if call.reference == WHEN_RETURNED:
        return stages.OUTPUT
    if call.other_routing:
        return stages.ROUTER
    _, stage, _ = diagnose(run.case_of(call), found)
    # One number scales all tokens, by that factor. And the plain call is right, so it is not the number itself that is wrong.
    if stage == stages.SCALING and (len(found.tokens) < call.tokens or not _is_scaling(run.case_of(call), found)):
        return stages.EXPERTS
    # The routed experts may give 1/tp of what they should as well as a reduction may, which the plain call has.
    return "layer" if stage == stages.REDUCE else stage


def _is_scaling(case: Case, found: Difference) -> bool:
    """Whether some part has a factor that is the routed scaling's."""
    wrong = [found.factors[part] for part in found.off]
    return found.explained and any(
        near(factor, wanted) for factor in wrong for wanted in (case.scaling, 1 / case.scaling)
    )


def _some(places: list[int], count: int, what: str) -> str:
    """``1 of 65 tokens (64)``; ``all 7 tokens``."""
    if len(places) == count:
        return f"all {count:,} {what}s" if count > 1 else f"the only {what}"
    return f"{len(places):,} of {count:,} {what}s ({ranges(places)})"


def _be(places: list[int]) -> str:
    return "are" if len(places) > 1 else "is"
