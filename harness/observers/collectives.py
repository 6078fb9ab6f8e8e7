"""Collectives: an all-reduce demands contiguous memory, and a forward needs exactly one across tensor-parallel ranks."""

from harness.execution import stages
from harness.execution.evidence import Call, Run
from harness.findings.explain import not_contiguous
from harness.findings.finding import Finding
from harness.ops.collectives import is_collective


def look(run: Run) -> list[Finding] | None:
    """Findings of a strided input, of a count other than one (none without tensor parallelism), of the wrong tensor."""
    if run.graphs is not None:
        return (
            None
            if run.failed
            else _count(run, sum(map(is_collective, run.graphs[0].ops)) if run.graphs else 0, "graph")
        )
    calls = [call for call in run.calls if call.records and call.error is None]
    for call in calls:
        count = sum(is_collective(record.op) for record in call.records)
        findings = _strided(run, call) or _count(run, count, call.label) or _beside(call)
        if findings:
            return findings
    return [] if calls else None


def _strided(run: Run, call: Call) -> list[Finding]:
    reduced = [record for record in call.records if is_collective(record.op) and record.inputs]
    return [not_contiguous(run, call, record) for record in reduced if not record.inputs[0].contiguous][:1]


def _beside(call: Call) -> list[Finding]:
    """A finding where the routed experts ran, and what was reduced did not come through them."""
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
            cause="The experts' result stays a partial sum on each rank, and what was whole is summed.",
            call=call.label,
            line=reduced[0].line,
        )
    ]


def _count(run: Run, count: int, label: str) -> list[Finding]:
    wanted = 1 if run.case.tp > 1 else 0
    if count == wanted:
        return []
    cause = "Ranks keep partial sums." if count < wanted else "Each further one costs time, or multiplies the output."
    return [
        Finding(
            observer="collectives",
            kind="collective-count",
            stage=stages.REDUCE,
            what=f"{count} all-reduces in one forward; expected {wanted} at tensor-parallel size {run.case.tp}",
            cause=cause,
            call=label,
        )
    ]
