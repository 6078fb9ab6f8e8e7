"""Values: the first output agrees with the oracle in every column; else, which part of the layer is wrong and how."""

from dataclasses import replace

from torch import Tensor

from harness.execution import stages
from harness.execution.difference import Difference, compare, ranges
from harness.execution.evidence import Call, Record, Run
from harness.execution.stages import is_scale
from harness.findings.finding import Finding
from harness.findings.origins import first_after
from harness.matrix.case import Case
from harness.observers.factors import by_token, names_of, near, number, scaled, text_of
from harness.ops.finite import all_finite

# A wrong cut or a wrong tail leaves whole ranges of columns correct. Where all columns are wrong, single ones are near by
# chance, and the wrong ones form many ranges.
_CUT_RANGES, _CUT_SHARE = 3, 0.05

# A part's factor counts where it is so many times farther from one than what nothing explains would move it.
_NOISE = 3
_IN_COLUMNS = 0.02  # a part's factor in a few columns may be so far from one: they hold little
_ZERO = 0.01  # of a factor whose part is missing

PART_STAGES = {"routed": stages.EXPERTS, "shared": stages.SHARED}


def look(run: Run) -> list[Finding] | None:
    """A finding where the first call's output differs. Later calls belong to the second-call observer."""
    calls = comparable(run)
    if not calls or calls[0] is not run.calls[0]:
        return None
    difference = difference_of(calls[0])
    return [finding(run, calls[0], difference)] if difference else []


def comparable(run: Run) -> list[Call]:
    """The plain calls whose output can be compared: it has the oracle's shape."""
    return [
        call
        for call in run.plain_calls
        if isinstance(call.snapshot, Tensor)
        and call.expected is not None
        and call.snapshot.shape == (call.tokens, run.case.hidden)
    ]


def difference_of(call: Call) -> Difference | None:
    """How a call's output differs from the oracle; None where it does not, or is not finite, which the poison observer reports."""
    assert call.snapshot is not None
    assert call.expected is not None
    if call.difference is None:
        call.difference = (compare(call.snapshot, call.expected) if all_finite(call.snapshot) else None,)
    return call.difference[0]


def finding(run: Run, call: Call, difference: Difference, observer: str = "values") -> Finding:
    """The finding for a difference, at the stage of the layer that it points to."""
    kind, stage, cause = _diagnosed(run.case, call, difference)
    factors = ", ".join(
        f"{part} x {number(factor) if part in difference.off else f'{factor:.3g}'}"
        for part, factor in difference.factors.items()
    )
    # A factor that the cause denies, and does not go by, says nothing. One over all tokens says nothing of few.
    denied = kind == "wrong-tokens" or (cause.startswith(_TRIED) and _BEST not in cause)
    fit = "" if denied else f"; best fit: {factors}"
    return Finding(
        observer=observer,
        kind=kind,
        stage=stage,
        what=f"columns {difference.ranges} differ from the oracle, {difference.by()}{fit}",
        cause=cause,
        call=call.label,
        line=call.miscut.line if call.miscut else None,
        detail={
            "columns": len(difference.columns),
            "worst": difference.worst,
            "factors": difference.factors,
            "shared_reads_latent": _reads_latent(call.records),
        },
    )


def _diagnosed(case: Case, call: Call, difference: Difference) -> tuple[str, str, str]:
    if (shifted := _shifted(case, call)) is not None:
        return "wrong-columns", *shifted
    if call.miscut:
        return "wrong-columns", stages.UNPAD, " ".join((_which_tokens(difference, call), call.miscut.text))
    kind, stage, cause = diagnose(case, replace(difference, spread=call.spread or difference.spread))
    if kind == "missing-part" and stage == stages.ADD and (part := _zero_part(call, difference)):
        stage, cause = PART_STAGES[part], f"{cause} The op of the routed experts returns zeros for it."
    cause = " ".join((cause, *call.facts))
    if noted := noted_stage(call):
        return kind, noted, cause
    if stage != stages.SHARED or case.scaling == 1:
        return kind, stage, cause
    factor = difference.factors.get("shared", 1.0)
    names = names_of(factor, case)
    if (outside := _scaled_outside(call.records)) and (not names or "1/scaling" in names) and abs(factor) > _ZERO:
        at = f" at {outside.line}" if outside.line else ""
        return kind, stages.SCALING, f"{cause} It is multiplied or divided{at}, where the shared expert has returned."
    if not near(factor, case.scaling):
        return kind, stage, cause
    scale = first_after(call.records, stages.ADD, stages.SCALING)
    if scale is None:
        return kind, stage, cause
    # Another factor there would leave the shared part's own: that part was then scaled before the sum.
    where = f" at {scale.line}" if scale.line else ""
    both = f"The sum of both parts is multiplied{where}: by the routed scaling, that scales the shared part too."
    return kind, stages.SCALING, f"{cause} {both}"


def noted_stage(call: Call) -> str:
    """The stage that a second look has noted for a wrong call; empty for none."""
    noted = (
        (call.misrouted, stages.ROUTER),
        (call.mispadded, stages.PAD),
        (call.miscut, stages.UNPAD),
        (call.unreduced, stages.REDUCE),
    )
    return next((stage for is_noted, stage in noted if is_noted), "")


def _which_tokens(difference: Difference, call: Call) -> str:
    """The wrong tokens, where some are right."""
    if len(difference.tokens) == call.tokens:
        return "All tokens are wrong."
    return _named_tokens(difference, f" of {call.tokens}")


def _named_tokens(difference: Difference, of: str = "") -> str:
    """The wrong tokens by their numbers."""
    one = len(difference.tokens) == 1
    return (
        f"Token{'s'[: not one]} {ranges(difference.tokens)}{of} {'is' if one else 'are'} wrong; the others are correct."
    )


def _zero_part(call: Call, difference: Difference) -> str:
    """The missing part where it is nothing but zeros before the parts are added; empty where it is not."""
    missing = {part for part, factor in difference.factors.items() if abs(factor) <= _ZERO}
    return next(iter(missing & call.zero_parts), "") if len(missing) == 1 else ""


def _scaled_outside(records: list[Record]) -> Record | None:
    """The op that multiplies the shared expert's output, where the experts' op gives that output too."""
    ops = {index for index, record in enumerate(records) if record.stage == stages.EXPERTS and len(record.outputs) > 1}
    scales = (record for record in records if is_scale(record.op) and not record.routed)
    return next((record for record in scales if ops & {*record.sources}), None)


def _shifted(case: Case, call: Call) -> tuple[str, str] | None:
    """(stage, cause) where the pad and the cut of the padding do not begin at the same column."""
    if case.padded == case.width:
        return None
    by_stage = {
        stage: [r for r in call.records if r.stage == stage and r.shift] for stage in (stages.PAD, stages.UNPAD)
    }
    pads, cuts = by_stage[stages.PAD], by_stage[stages.UNPAD]
    if {record.shift for record in pads} == {record.shift for record in cuts}:
        return None
    if pads:
        where = f"The pad puts {pads[0].shift} column{'s'[: pads[0].shift != 1]} of padding in front of the rows"
        return stages.PAD, f"{where}: the weights, and the cut of the output, must begin there too."
    left_out = f"The cut leaves out the first {_first(cuts[0].shift)}, where no padding is."
    return stages.UNPAD, left_out


def _first(columns: int) -> str:
    return "column" if columns == 1 else f"{columns} columns"


def _reads_latent(records: list[Record]) -> bool:
    """Whether an op of the shared expert has an input that came through the latent down-projection."""
    return first_after(records, stages.DOWN, stages.SHARED) is not None


def diagnose(case: Case, difference: Difference) -> tuple[str, str, str]:
    """(kind, stage, cause) of a difference: a wrong factor, a wrong part, wrong columns or wrong tokens."""
    few_tokens = len(difference.tokens) * 2 < case.tokens
    # Few wrong tokens or columns are a small rest beside factors of one, which then explain nothing.
    if difference.explained and difference.off:
        return scaled(difference, case)
    wrong_tokens = _wrong_tokens(difference)
    if few_tokens and 2 * len(difference.columns) > difference.width:
        return wrong_tokens
    correct_columns = difference.width - len(difference.columns)
    if correct_columns >= _CUT_SHARE * difference.width and difference.range_count <= _CUT_RANGES:
        return "wrong-columns", *_wrong_columns(difference, case)
    if wrong_part := by_token(difference, case) or _wrong_part(difference):
        return wrong_part
    if few_tokens:
        return wrong_tokens
    return "wrong-values", stages.EXPERTS, _unlocalised(difference)


def _wrong_columns(difference: Difference, case: Case) -> tuple[str, str]:
    """(stage, cause) of a few ranges of columns. Only the last columns can be wrong because of where the padding is cut off."""
    one = len(difference.columns) == 1
    text = f"Column{'s'[: not one]} {ranges(difference.columns)} {'is' if one else 'are'} wrong; the others are correct"
    off = [part for part, factor in difference.in_columns.items() if abs(factor - 1) > _IN_COLUMNS]
    factors = " ".join(text_of(part, difference.in_columns[part], case) for part in off)
    known = f" In {'it' if one else 'them'} {factors[0].lower()}{factors[1:]}" if factors else ""
    if difference.columns[-1] == difference.width - 1:
        return stages.UNPAD, f"{text}: look at the cut of the padding and at the kernel's tail.{known}"
    stage = PART_STAGES.get(off[0], stages.EXPERTS) if len(off) == 1 else stages.EXPERTS
    look = "a tile or a lane of its kernel, at a block of its weights or scales"
    return stage, f"{text}, the last ones too, so it is not the end of the padding's cut: look at {look}.{known}"


_TRIED = "No factor of a part, no range of columns and no few tokens explain the difference"
_BEST = "By the best fit"


def _unlocalised(difference: Difference) -> str:
    """What was tried, and which part may be wrong alone all the same: no output tells that, where it is not by a factor."""
    held = [part for part in difference.factors if _is_held(difference, part)]
    others = [part for part in difference.factors if part not in held and _is_told(difference, part)]
    if len(difference.factors) == 1:
        return f"{_TRIED}: look at weights, routing and layout."
    if held and others:
        fits = f"{_BEST} the {' and the '.join(held)} part is as it should be"
        return f"{_TRIED}. {fits}: it may be the {' or the '.join(others)} part alone. Look at its weights, routing and layout."
    one = "One part alone may be wrong, or several, which this output does not tell"
    return f"{_TRIED}. {one}: look at weights, routing and layout."


def _wrong_tokens(difference: Difference) -> tuple[str, str, str]:
    """A few tokens are wrong. Of several parts nothing tells which, unless the oracle has one in those alone, or in no other."""
    what, one = _named_tokens(difference), len(difference.tokens) == 1
    if difference.zero_part:
        part, in_wrong = difference.zero_part
        these = "this token" if one else "these tokens"
        where = f"in {these} alone" if in_wrong else f"in all tokens but {these.split()[0]}{' one' * one}"
        return "wrong-tokens", PART_STAGES.get(part, part), f"{what} In the oracle the {part} part is zero {where}."
    own = difference.factors.keys() - {*PART_STAGES, "output"}
    return "wrong-tokens", "layer" if own else stages.EXPERTS, what


def _is_told(difference: Difference, part: str) -> bool:
    """Whether a part's factor is farther from one than something else in the output makes it."""
    return abs(difference.factors[part] - 1) > _NOISE * difference.noise.get(part, 0.0)


def _is_held(difference: Difference, part: str) -> bool:
    """Whether a part is in the output with a factor of one, and with none of zero, whatever else is in it."""
    return part not in difference.off and _NOISE * difference.noise.get(part, 0.0) < 1


def _wrong_part(difference: Difference) -> tuple[str, str, str] | None:
    """One part of the oracle is in the output, and another is not."""
    correct = [part for part, factor in difference.factors.items() if abs(factor - 1) < 0.1]
    wrong = [part for part in difference.off if part not in correct and _is_told(difference, part)]
    if not correct or not wrong:
        return None
    stage = PART_STAGES.get(wrong[0], wrong[0]) if len(wrong) == 1 else wrong[0]
    cause = f"The {correct[0]} part is correct and the {wrong[0]} part is not: it reads or computes something wrong."
    return "wrong-part", stage, cause
