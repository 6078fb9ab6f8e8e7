"""Second call: calls with other inputs are correct too, and no call overwrites an earlier output."""

from itertools import pairwise

from harness.execution import stages
from harness.execution.difference import Difference
from harness.execution.evidence import REPEATED, Call, Record, Run, same_bits
from harness.findings.finding import Finding
from harness.findings.readers.capturing import UNWRITTEN_IN_CAPTURE
from harness.observers.values import comparable, diagnose, difference_of, noted_stage
from harness.ops.finite import all_finite

OUTSIDE = (
    "A fresh layer is wrong too, and for the first call's inputs as well, for which a layer was right before: an earlier call "
    "left something outside of the layer, such as a cache or a workspace of its class, a module or an op, or a setting."
)


def look(run: Run) -> list[Finding] | None:
    """Findings of a later call that differs from the oracle although the first does not, and of an overwritten output."""
    calls = [call for call in comparable(run) if call.tokens > 1 and call.label != REPEATED]
    if len(calls) < 2:
        return None
    findings = _overwritten(run)
    if calls[0] is run.calls[0] and difference_of(calls[0]):
        return findings
    later = [call for call in calls[1:] if not (call.unwritten and _reported(run))]
    wrong = next(((call, difference) for call in later if (difference := difference_of(call))), None)
    return findings + ([_stale(run, *wrong)] if wrong else [])


def _reported(run: Run) -> bool:
    """Whether the poison observer reports NaN of memory that another graph's capture made."""
    return any(call.unwritten and call.snapshot is not None and not all_finite(call.snapshot) for call in run.calls)


def _stale(run: Run, call: Call, difference: Difference) -> Finding:
    kind, stage, cause = _account(run, call, difference)
    return Finding(
        observer="second call",
        kind=kind,
        stage=stage,
        what=(f"{call.unwritten}; " if call.unwritten else "")
        + f"columns {difference.ranges} differ from the oracle, {difference.by()}",
        cause=cause,
        call=call.label,
        line=call.unwritten.line if call.unwritten else None,
        detail={"columns": len(difference.columns), "worst": difference.worst},
    )


def _account(run: Run, call: Call, difference: Difference) -> tuple[str, str, str]:
    """(kind, stage, cause). Where a fresh layer is wrong for these inputs too, nothing is stale: the values' account comes first."""
    kind, stage, account = diagnose(run.case, difference)
    cause, wrong_alone = _cause(run.calls[0], call), call.fresh_differs is True and not call.outside
    if wrong_alone:
        cause = f"{account} {cause}"
    if call.unwritten:
        return "other-graphs-memory", stage, cause
    if call.replayed:
        # What reads an input that is absent is not known from the parts.
        return "stale-replay", "layer" if call.absent else stage, cause
    if call.not_run:
        return "stale", call.not_run, f"{cause} {not_run(call)}"
    if wrong_alone:
        cause = " ".join((cause, *call.facts, *([call.miscut.text] if call.miscut else [])))
        return "wrong-columns" if call.miscut else kind, noted_stage(call) or stage, cause
    return "stale", "layer" if call.outside else stage, cause


def not_run(call: Call) -> str:
    """Which part's output is reused."""
    return f"The {call.not_run} does not run in the later call, and does in a fresh layer: what it gave earlier is used again."


def _cause(first: Call, call: Call) -> str:
    """The causes that fit a call that is wrong although the first was correct."""
    if call.unwritten:
        return UNWRITTEN_IN_CAPTURE
    if call.absent:
        return _absent(call)
    if call.replayed:
        padding = ", or mixes in the rows of padding" if call.padding_rows else ""
        return (
            "The replay reuses a value, a buffer or a branch that was fixed at the capture, or what an earlier replay or call "
            f"left{padding}. {_EXECUTES_NOTHING}"
        )
    if call.outside:
        return OUTSIDE
    if call.fresh_differs:
        return (
            f"A fresh layer is wrong for these {call.tokens} tokens too, and right for those of the first call: nothing that an "
            "earlier call left in the layer is the reason."
        )
    if call.fresh_differs is False:
        return "A fresh layer is right for these inputs: the layer reuses something of an earlier call."
    if call.tokens != first.tokens:
        return f"The layer reuses something of an earlier call, or is wrong for {call.tokens} tokens."
    return "The first call was correct. The layer reuses something of an earlier call, or is wrong for these inputs."


def _absent(call: Call) -> str:
    """The cause where an optional input is present in the captured batch and absent in this one, or the other way round."""
    place = call.absent[0]
    if call.before[place] is None:
        return (
            f"Input {place} is absent in this batch, and the graph was captured with it: its buffer keeps the values of an "
            "earlier batch, which the replay reads. Capture a graph for each, or fill the buffer with values that do nothing."
        )
    return (
        f"Input {place} is present in this batch, and the graph was captured without it: the replay does not read it. "
        "Capture a graph for each."
    )


_EXECUTES_NOTHING = (
    "A capture executes nothing: what is written once, such as a buffer that is zeroed when it is made, belongs to the graph "
    "that made it and not to the others."
)


def _overwritten(run: Run) -> list[Finding]:
    for call, later in pairwise(run.calls):
        if call.replayed or call.output is None or call.snapshot is None or same_bits(call.output, call.snapshot):
            continue
        what = f"the output of the {call.label} changed when the layer was called again"
        op = _op_of_both(call, later)
        return [
            Finding(
                observer="second call",
                kind="output-overwritten",
                stage=op.stage if op else stages.OUTPUT,
                what=what,
                cause=f"{op.op if op else 'The layer'} returns memory that it writes again in a later call.",
                call=later.label,
                line=op.line if op else None,
            )
        ]
    return []


def _op_of_both(call: Call, later: Call) -> Record | None:
    """The routed experts' op, where the outputs of both calls lie in one memory that it returns."""
    made, again = call.memory_of, later.memory_of
    if made is None or again is None or {made.stage, again.stage} != {stages.EXPERTS}:
        return None
    if call.output is None or later.output is None:
        return None
    ptrs = {output.untyped_storage().data_ptr() for output in (call.output, later.output)}
    return made if len(ptrs) == 1 else None
