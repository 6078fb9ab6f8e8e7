"""Alias and mutation: who writes where nothing says so, and whose memory an output shares."""

from torch import Tensor

from harness.execution import stages
from harness.execution.evidence import Call, Record, Run, same_bits
from harness.findings.finding import Finding


def look(run: Run) -> list[Finding] | None:
    """Findings of undeclared writes and aliases of ops, of changed inputs and weights, of an output that is no memory of its own."""
    calls = [call for call in run.calls if call.error is None and call.before]
    if not calls:
        return None
    findings = [finding for call in run.calls for record in call.records for finding in _of_op(call, record)]
    told = {finding.stage for finding in findings}
    for call in calls:
        changed = [
            place for place, pair in enumerate(zip(call.inputs, call.before, strict=True)) if not same_bits(*pair)
        ]
        if changed and not told:
            findings.append(_changed_input(call, changed))
            break
    return findings + _changed_state(run, told) + _shared_output(run, calls)


def _of_op(call: Call, record: Record) -> list[Finding]:
    findings = []
    for name in record.undeclared_writes:
        what = f"{record.op} writes to its argument {name!r}, which its schema does not declare"
        findings.append(_finding("mutated-input", record.stage, what, _LATER, call.label, record))
    for name in record.undeclared_aliases:
        what = f"{record.op} returns memory of its argument {name!r}, which its schema does not declare"
        findings.append(_finding("undeclared-alias", record.stage, what, _REUSED, call.label, record))
    if record.outputs_overlap:
        what = f"{record.op} returns outputs that lie in the same memory"
        findings.append(_finding("undeclared-alias", record.stage, what, _REUSED, call.label, record))
    return findings


_LATER = "Whatever reads that tensor later, the shared expert for one, reads what the op left there."
_REUSED = "A compiler may reuse or free that memory while the output still lives in it."


def _finding(kind: str, stage: str, what: str, cause: str, call: str, record: Record | None = None) -> Finding:
    line = record.line if record else None
    return Finding(observer="alias", kind=kind, stage=stage, what=what, cause=cause, call=call, line=line)


def _changed_input(call: Call, places: list[int]) -> Finding:
    names = ", ".join("hidden_states" if place == 0 else f"input {place}" for place in places)
    return _finding("mutated-input", "layer", f"the layer changed its {names}", _LATER, call.label)


def _changed_state(run: Run, told: set[str]) -> list[Finding]:
    changed = run.changed_state
    if not changed or told or not run.reads_changed_state:
        return []
    what = f"calling the layer changed its {', '.join(changed[:4])}"
    return [_finding("mutated-state", "layer", what, "The next call computes with other weights.", run.calls[0].label)]


def _shared_output(run: Run, calls: list[Call]) -> list[Finding]:
    held = {tensor.untyped_storage().data_ptr(): name for name, tensor in run.state_after.items() if tensor.numel()}
    for call in calls:
        if not isinstance(call.output, Tensor) or not call.output.numel():
            continue
        inputs = {tensor.untyped_storage().data_ptr(): f"input {place}" for place, tensor in enumerate(call.inputs)}
        owner = (held | inputs).get(call.output.untyped_storage().data_ptr())
        if owner:
            what = f"the output shares the memory of {owner}"
            return [_finding("shared-output", stages.OUTPUT, what, _REUSED, call.label)]
    return []
