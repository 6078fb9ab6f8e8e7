"""Collectives: an all-reduce needs contiguous memory, and a forward needs exactly one all-reduce where tp is above 1."""

from harness.execution import stages
from harness.execution.evidence import Call, Graph, Run
from harness.findings.finding import Finding
from harness.findings.readers.shapes import not_contiguous
from harness.ops.collectives import is_collective


def look(run: Run) -> list[Finding] | None:
    """At most one finding: a strided input, a count other than one (zero at tp 1), or the wrong tensor reduced."""
    if run.graphs is not None:
        return None if run.failed else _count(run, _in_first_graph(run.graphs), "graph")
    calls = [call for call in run.calls if call.records and call.error is None]
    for call in calls:
        count = sum(is_collective(record.op) for record in call.records)
        findings = _strided(run, call) or _count(run, count, call.label) or _wrong_tensor(call)
        if findings:
            return findings
    return [] if calls else None


def _strided(run: Run, call: Call) -> list[Finding]:
    reduced = [record for record in call.records if is_collective(record.op) and record.inputs]
    return [not_contiguous(run, call, record) for record in reduced if not record.inputs[0].contiguous][:1]


def _wrong_tensor(call: Call) -> list[Finding]:
    """A finding where the routed experts ran and no reduced tensor came through them."""
    reduced = [record for record in call.records if is_collective(record.op) and record.inputs]
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
        )
    ]


def _in_first_graph(graphs: list[Graph]) -> int:
    return sum(map(is_collective, graphs[0].ops)) if graphs else 0


_TOO_MANY = "Each extra all-reduce costs time. It also multiplies the output where its input is complete already."


def _count(run: Run, count: int, label: str) -> list[Finding]:
    expected = 1 if run.case.tp > 1 else 0
    if count == expected:
        return []
    cause = "Each rank keeps its own partial sum." if count < expected else _TOO_MANY
    return [
        Finding(
            observer="collectives",
            kind="collective-count",
            stage=stages.REDUCE,
            what=f"{count} all-reduces in one forward; expected {expected} at tensor-parallel size {run.case.tp}",
            cause=cause,
            call=label,
        )
    ]
