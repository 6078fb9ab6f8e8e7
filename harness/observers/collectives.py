"""Collectives: an all-reduce needs contiguous memory, and a forward reduces once where tp is above 1.

A subject can declare that its layer reduces more often, and which ops reduce.
"""

from dataclasses import replace

from harness.execution import stages
from harness.execution.evidence import Call, Graph, Record, Run
from harness.findings.finding import Finding
from harness.findings.readers.strided import not_contiguous
from harness.observers.factors import reduced_less
from harness.ops.collectives import is_collective, is_reduction


def look(run: Run) -> list[Finding] | None:
    """At most one finding: a strided input, a count other than expected (zero at tp 1), or the wrong tensor reduced."""
    if run.graphs is not None:
        return None if run.failed else _count(run, _in_first_graph(run, run.graphs), "graph")
    calls = [call for call in run.calls if call.records and call.error is None]
    for call in calls:
        reduced = [record for record in call.records if _reduces(run, record.op)]
        findings = _strided(run, call) or _count(run, len(reduced), call.label, reduced) or _wrong_tensor(run, call)
        if findings:
            return findings
    return [] if calls else None


def _reduces(run: Run, op: str) -> bool:
    return is_reduction(op) or op in run.declared.reduces_by


def _strided(run: Run, call: Call) -> list[Finding]:
    reduced = [record for record in call.records if is_collective(record.op) and record.inputs]
    return [not_contiguous(run, call, record) for record in reduced if not record.inputs[0].contiguous][:1]


def _wrong_tensor(run: Run, call: Call) -> list[Finding]:
    """A finding where the routed experts ran and no reduced tensor came through them."""
    reduced = [record for record in call.records if _reduces(run, record.op) and record.inputs]
    ran = any(record.stage == stages.EXPERTS for record in call.records)
    if not ran or not reduced or any(record.routed for record in reduced):
        return []
    return [
        Finding(
            observer="collectives",
            kind="reduced-beside",
            stage=stages.REDUCE,
            what="the all-reduce was given a tensor that did not come through the routed experts",
            cause="The experts' partial sums are never added up across ranks. A tensor that was complete already is multiplied.",
            call=call.label,
            line=reduced[0].line,
            caller=reduced[0].caller,
        )
    ]


def _in_first_graph(run: Run, graphs: list[Graph]) -> int:
    return sum(_reduces(run, op) for op in graphs[0].ops) if graphs else 0


_TOO_FEW = "Each rank keeps its own partial sum, unless an op reduces that the harness does not know"
_SOME = (
    "A part of the output is not summed over the ranks, or only after a transform that needs the sum, unless an op reduces that "
    "the harness does not know"
)
_TOO_MANY = "Each extra all-reduce costs time. It also multiplies the output where its input is complete already."
_NUMBER = " A layer that needs more than one can declare their number."


def _count_cause(run: Run, count: int, expected: int) -> str:
    """What another number of reductions does, and what the subject's owner can declare."""
    can_declare = not run.declared.layer_of
    if count > expected:
        return _TOO_MANY + _NUMBER * can_declare
    return f"{_SOME if count else _TOO_FEW}{': then declare it' * can_declare}."


def _count(run: Run, count: int, label: str, reduced: list[Record] | None = None) -> list[Finding]:
    expected = run.declared.reduces if run.case.tp > 1 else 0
    if count == expected:
        return []
    lines = list(dict.fromkeys(str(record.caller or record.line) for record in reduced or () if record.line))
    at = f" (at {' and '.join(lines)})" if len(lines) > 1 else ""
    return [
        Finding(
            observer="collectives",
            kind="collective-count",
            stage=stages.REDUCE,
            what=f"{count} all-reduce{'s'[: count != 1]} in one forward{at}; expected {expected} at tensor-parallel size "
            f"{run.case.tp}",
            cause=_count_cause(run, count, expected),
            call=label,
            line=reduced[-1].line if reduced else None,
            caller=reduced[-1].caller if reduced else None,
            detail={"reduced": [record.inputs[0].shape[-1] for record in reduced or () if record.inputs]},
        )
    ]


def fold_reductions(findings: list[Finding], real_ranks: bool = False) -> list[Finding]:
    """Where the count of all-reduces is wrong, what follows from it goes into that finding.

    That is a part's factor at the all-reduce. It is also a difference that no part, column or token explains: a rank's
    partial sum alone differs in any way. With real ranks it stays: what each rank holds says more of it.
    """
    count = next((finding for finding in findings if finding.kind == "collective-count"), None)
    follows = [finding for finding in findings if _follows(finding, real_ranks)]
    if count is None or not follows:
        return findings
    cause = _MIXED if follows[0].kind == "wrong-values" else follows[0].cause
    cause = cause if count.cause.startswith(_TOO_MANY) else reduced_less(cause)
    whole = replace(count, cause=f"{count.cause} {cause}", detail=count.detail | follows[0].detail)
    return [whole if finding is count else finding for finding in findings if finding not in follows]


_MIXED = "The values are wrong too; correct the number first."


def _follows(finding: Finding, real_ranks: bool) -> bool:
    is_factor = finding.kind == "scaled" and finding.stage == stages.REDUCE
    return is_factor or (finding.kind == "wrong-values" and not real_ranks)
