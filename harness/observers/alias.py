"""Alias and mutation: undeclared writes, and outputs that share memory with something else."""

from dataclasses import replace

from torch import Tensor

from harness.execution import stages
from harness.execution.evidence import CALL_WITH, Call, Record, Run, same_bits
from harness.findings.finding import Finding


def look(run: Run) -> list[Finding] | None:
    """Findings of undeclared writes and aliases, of changed inputs and state, and of an output that shares memory."""
    calls = [call for call in run.calls if call.error is None and call.before]
    if not calls:
        return None
    findings = [finding for call in run.calls for record in call.records for finding in _of_op(call, record)]
    explained = bool(findings)  # an op that writes undeclared explains a changed input or weight
    for call in calls:
        changed = [
            index
            for index, (now, before) in enumerate(zip(call.inputs, call.before, strict=True))
            if now is not None and before is not None and not same_bits(now, before)
        ]
        if changed and not explained:
            findings.append(_changed_input(call, changed))
            break
    return findings + _untrue_alias(run) + _changed_state(run, explained) + _shared_output(run, calls)


def _of_op(call: Call, record: Record) -> list[Finding]:
    findings = []
    for name, memory in zip(record.undeclared_writes, record.written_memory, strict=True):
        what = f"{record.op} writes to its argument {name!r}, which its schema does not declare"
        written = _finding("mutated-input", record.stage, what, _overwritten(call, record, memory), call.label, record)
        findings.append(replace(written, detail={"hidden_states": memory == call.inputs[0].untyped_storage()._cdata}))
    for name in record.undeclared_aliases:
        what = f"{record.op} returns memory of its argument {name!r}, which its schema does not declare"
        findings.append(_finding("undeclared-alias", record.stage, what, _REUSED, call.label, record))
    if record.outputs_overlap:
        what = f"{record.op} returns outputs that lie in the same memory"
        findings.append(_finding("undeclared-alias", record.stage, what, _REUSED, call.label, record))
    return findings


def _overwritten(call: Call, record: Record, memory: int) -> str:
    """What follows from a write: the shared expert is named where it is seen to take the written input of the op after it."""
    later = iter(call.records)
    any(one is record for one in later)  # those that are left came after it
    shared = (one for one in later if one.stage == stages.SHARED)
    reads = any(memory in one.memory for one in shared)
    return _OVERWRITTEN.replace("later reads", "later, such as the shared expert, reads") if reads else _OVERWRITTEN


def _untrue_alias(run: Run) -> list[Finding]:
    """A finding for an op whose output never shares the memory that its schema declares. One that does so at times is a view."""
    records = [(call, record) for call in run.calls if call.tokens for record in call.records if record.fake]
    views = {record.op for _, record in records if not record.untrue_aliases}
    for call, record in records:
        if record.op not in views:
            what = (
                f"{record.op} declares that its output shares the memory of {record.untrue_aliases[0]!r}; it never does"
            )
            return [_finding("untrue-alias", record.stage, what, _NOT_A_VIEW, call.label, record)]
    return []


_NOT_A_VIEW = (
    "A compiler takes the output for a view: a write to one of the two then counts as a write to both, and the result may "
    "differ from eager. Take the annotation out of the schema."
)
_OVERWRITTEN = "Whatever reads that tensor later reads the overwritten values."
_REUSED = "A compiler trusts the schema: it may reuse or free that memory while the output still lies in it."
_SHARED = "When that memory is written the next time, the output changes with it."


def _finding(kind: str, stage: str, what: str, cause: str, call: str, record: Record | None = None) -> Finding:
    line = record.line if record else None
    return Finding(observer="alias", kind=kind, stage=stage, what=what, cause=cause, call=call, line=line)


def _changed_input(call: Call, indices: list[int]) -> Finding:
    names = ", ".join("hidden_states" if index == 0 else f"input {index}" for index in indices)
    found = _finding("mutated-input", "layer", f"the layer changed its {names}", _OVERWRITTEN, call.label)
    return replace(found, detail={"hidden_states": 0 in indices})


def _changed_state(run: Run, explained: bool) -> list[Finding]:
    changed = run.changed_state
    if not changed or explained or not run.reads_changed_state:
        return []
    what = f"calling the layer changed its {', '.join(changed[:4])}"
    label = f"{CALL_WITH}{run.changed_by.words}" if run.changed_by else run.calls[0].label
    return [_finding("mutated-state", "layer", what, "Later calls may compute with the changed values.", label)]


def _shared_output(run: Run, calls: list[Call]) -> list[Finding]:
    """A finding where an output lies in an input, or in state that outlives the call: that of before, or of another output.

    State made in the call, such as a reference to the last output, is no harm: nothing writes there again.
    """
    owned = {} if run.declared.keeps_output else _lasting_state(run, calls)
    for call in calls:
        if not isinstance(call.output, Tensor) or not call.output.numel():
            continue
        given = [(index, tensor) for index, tensor in enumerate(call.inputs) if tensor is not None]
        inputs = {_memory(tensor): f"input {index}" for index, tensor in given}
        owner = (owned | inputs).get(_memory(call.output))
        if owner:
            what = f"the output shares the memory of {owner}"
            return [_finding("shared-output", stages.OUTPUT, what, _SHARED, call.label)]
    return []


def _lasting_state(run: Run, calls: list[Call]) -> dict[int, str]:
    """The layer's tensors by their memory, without those that one call made and only it returned."""
    state = {_memory(tensor): name for name, tensor in run.state_after.items() if tensor.numel()}
    outputs = [_memory(call.output) for call in calls if isinstance(call.output, Tensor) and not call.replayed]
    outputs += {_memory(call.output) for call in calls if isinstance(call.output, Tensor) and call.replayed}
    once = {memory for memory in outputs if outputs.count(memory) == 1} - run.built_memory
    return {memory: name for memory, name in state.items() if memory not in once}


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
