"""Values: the first output agrees with the oracle in every column, or which part of the layer is wrong and how."""

from torch import Tensor

from harness.execution import stages
from harness.execution.difference import TOLERANCE, Difference, compare, ranges
from harness.execution.evidence import Call, Run, all_finite
from harness.findings.finding import Finding

# A cut or a tail gone wrong leaves whole ranges of columns right; where all are wrong, some are near by chance.
_CUT_RUNS, _CUT_SHARE = 3, 0.05


def look(run: Run) -> list[Finding] | None:
    """A finding where the first call's output differs; later calls are the second-call observer's."""
    calls = comparable(run)
    if not calls or calls[0] is not run.calls[0]:
        return None
    difference = difference_of(calls[0])
    return [finding(run, calls[0], difference)] if difference else []


def comparable(run: Run) -> list[Call]:
    """The calls that have an output and an oracle's answer of the same shape."""
    return [
        call
        for call in run.calls
        if isinstance(call.snapshot, Tensor)
        and call.expected is not None
        and call.snapshot.shape == (call.tokens, run.case.hidden)
    ]


def difference_of(call: Call) -> Difference | None:
    """How a call's output differs from the oracle; None where it does not, or is not finite (the poison observer's)."""
    assert call.snapshot is not None
    assert call.expected is not None
    if call.difference is None:
        call.difference = (compare(call.snapshot, call.expected) if all_finite(call.snapshot) else None,)
    return call.difference[0]


def finding(run: Run, call: Call, difference: Difference, observer: str = "values") -> Finding:
    """The finding for a difference, with the part of the layer that it points to."""
    kind, stage, cause = diagnose(run, difference)
    factors = ", ".join(f"{part} x {factor:.3g}" for part, factor in difference.factors.items())
    return Finding(
        observer=observer,
        kind=kind,
        stage=stage,
        what=f"columns {difference.ranges} differ from the oracle, at worst by {difference.worst:.2g} of its rms "
        f"(tolerance {TOLERANCE}); best fit: {factors}",
        cause=cause,
        call=call.label,
        detail={"columns": len(difference.columns), "worst": difference.worst, "factors": difference.factors},
    )


def diagnose(run: Run, difference: Difference) -> tuple[str, str, str]:
    """(kind, stage, cause) of a difference: a wrong factor, a wrong part, wrong columns or wrong tokens."""
    if difference.explained:
        return _scaled(run, difference.factors)
    if 2 * len(difference.tokens) < run.case.tokens and 2 * len(difference.columns) > difference.width:
        return "wrong-tokens", stages.EXPERTS, f"Tokens {ranges(difference.tokens)} are wrong and the others right."
    right_columns = difference.width - len(difference.columns)
    if right_columns >= _CUT_SHARE * difference.width and difference.runs <= _CUT_RUNS:
        where = ranges(difference.columns)
        return (
            "wrong-columns",
            stages.UNPAD,
            f"Columns {where} are wrong and the others right: a cut or a tail gone wrong.",
        )
    right = [part for part, factor in difference.factors.items() if abs(factor - 1) < 0.1]
    wrong = [part for part in difference.factors if part not in right]
    if right and wrong:
        stage = stages.SHARED if wrong == ["shared"] else stages.EXPERTS if wrong == ["routed"] else wrong[0]
        return (
            "wrong-part",
            stage,
            f"The {right[0]} part is right; the {wrong[0]} part is not: it read or computed something else.",
        )
    if len(difference.tokens) * 2 < run.case.tokens:
        return "wrong-tokens", stages.EXPERTS, f"Tokens {ranges(difference.tokens)} are wrong and the others right."
    return (
        "wrong-values",
        stages.EXPERTS,
        "The output is not the oracle's in any part: look at weights, routing and layout.",
    )


def _near(left: float, right: float) -> bool:
    return abs(left - right) <= 0.01 * max(abs(right), 1)


def _scaled(run: Run, factors: dict[str, float]) -> tuple[str, str, str]:
    """The output is the oracle's parts, each times a factor."""
    case = run.case
    off = {part: factor for part, factor in factors.items() if not _near(factor, 1)}
    part, factor = next(iter((off or factors).items()))
    same = len(off) == len(factors) and all(_near(other, factor) for other in off.values())
    if same and case.tp > 1 and _near(factor, 1 / case.tp):
        return "not-reduced", stages.REDUCE, f"The output is 1/{case.tp} of what it should be: it was never reduced."
    if same and case.tp > 1 and _near(factor, case.tp):
        return "reduced-twice", stages.REDUCE, f"The output is {case.tp} times what it should be: it was reduced twice."
    if _near(factor, 0):
        return "missing-part", stages.ADD, f"The {part} part is missing from the output."
    if part == "shared":
        return "scaled", stages.SHARED, f"The shared part is {factor:.3g} times what it should be."
    if case.scaling != 1 and _near(factor, case.scaling):
        return (
            "scaled",
            stages.SCALING,
            f"The {part} part is {factor:.3g} times too large: the routed scaling factor was applied twice.",
        )
    if case.scaling != 1 and _near(factor, 1 / case.scaling):
        return (
            "scaled",
            stages.SCALING,
            f"The {part} part is {1 / factor:.3g} times too small: the routed scaling factor was not applied.",
        )
    stage = stages.SHARED if part == "shared" else stages.SCALING
    return "scaled", stage, f"The {part} part is {factor:.3g} times what it should be."
