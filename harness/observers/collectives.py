"""Collectives: an all-reduce needs contiguous memory, and a forward reduces once where tp is above 1.

A subject can declare that its layer reduces more often, and which ops reduce.
"""

from harness.execution import stages
from harness.execution.difference import Difference
from harness.execution.evidence import Call, Graph, Record, Run
from harness.findings.finding import Finding
from harness.findings.readers.strided import not_contiguous
from harness.observers.factors import near
from harness.observers.values import comparable, difference_of
from harness.ops.collectives import is_collective, is_reduction


def look(run: Run) -> list[Finding] | None:
    """At most one finding: a strided input, a count other than expected (zero at tp 1), a sum that is dropped, the wrong tensor."""
    if run.graphs is not None:
        return None if run.failed else _count(run, _in_first_graph(run, run.graphs), "graph")
    calls = [call for call in run.calls if call.records and call.error is None]
    for call in calls:
        reduced = [record for record in call.records if _reduces(run, record.op)]
        findings = _strided(run, call) or _count(run, len(reduced), call.label, reduced)
        findings = findings or _dropped(run, call, reduced) or _wrong_tensor(run, call)
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
            cause=f"The experts' partial sums are never added up across ranks.{_MULTIPLIED if _is_multiplied(run, call) else ''}",
            call=call.label,
            line=reduced[0].line,
            caller=reduced[0].caller,
        )
    ]


_MULTIPLIED = " A tensor that was complete already is multiplied."


def _is_multiplied(run: Run, call: Call) -> bool:
    """Whether the output shows that a part was complete before it was reduced."""
    difference = _difference(run, call)
    return difference is not None and any(near(factor, run.case.tp) for factor in difference.factors.values())


def _in_first_graph(run: Run, graphs: list[Graph]) -> int:
    return sum(_reduces(run, op) for op in graphs[0].ops) if graphs else 0


TOO_MANY = "Each extra all-reduce costs time. It also multiplies the output where its input is complete already."
_DEFERRED = (
    "The layer's caller sums over the ranks: each rank should return its own part. What is summed here is summed once more "
    "there."
)
_TOO_FEW = "Each rank keeps its own partial sum, unless an op reduces that the harness does not know"
_SOME = (
    "A part of the output is not summed over the ranks, or only after a transform that needs the sum, unless an op reduces that "
    "the harness does not know"
)
_NUMBER = " A layer that needs more than one can declare their number."


def _count_cause(run: Run, count: int, expected: int) -> str:
    """What another number of reductions does, and what the subject's owner can declare."""
    can_declare = not run.declared.layer_of
    if count > expected == 0 and run.case.tp > 1:
        return _DEFERRED
    if count > expected:
        return TOO_MANY + _NUMBER * can_declare
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


_DROPPED = (
    "The op runs, and no other op reads its result, nor is it the output. What the layer goes on with is not summed by it, as "
    "where an op that returns a new tensor is called for what it does to its input."
)
# It returns what it waits for: to wait for a result is not to use it.
_WAITS = "wait_tensor"


def _dropped(run: Run, call: Call, reduced: list[Record]) -> list[Finding]:
    """A finding for the first reduction of a call whose result nothing uses. Of a right output nothing is dropped.

    A kernel that is called by address is no recorded op. Only wrong values, or a trace, which runs no such kernel, show that none
    reads the result. On real ranks the values say more: how much of each rank's shard is in the output.
    """
    if run.case.collective or not (run.mode.startswith("fake") or _difference(run, call)):
        return []
    return [_finding(call, record) for record in reduced if not _is_used(call, record)][:1]


def _difference(run: Run, call: Call) -> Difference | None:
    """How a call's output differs from the oracle; None where it does not, or is not compared with it."""
    return difference_of(call) if any(one is call for one in comparable(run)) else None


def _is_used(call: Call, record: Record) -> bool:
    """Whether a later op reads memory that the reduction wrote, or the output lies in it."""
    result = {*(record.made or record.memory)}
    place = next(index for index, one in enumerate(call.records) if one is record)
    for later in call.records[place + 1 :]:
        if result & {*later.memory}:
            if not later.op.endswith(f"::{_WAITS}"):
                return True
            result |= {*later.made}
    return call.output is None or call.output.untyped_storage()._cdata in result


def _finding(call: Call, record: Record) -> Finding:
    return Finding(
        observer="collectives",
        kind="sum-unused",
        stage=stages.REDUCE,
        what=f"nothing uses the result of {record.op}",
        cause=_DROPPED,
        call=call.label,
        line=record.line,
        caller=record.caller,
    )
