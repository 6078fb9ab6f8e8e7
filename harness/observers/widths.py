"""Widths: the output has the shape, layout, dtype and device of hidden_states."""

from dataclasses import replace

from torch import Tensor

from harness.base.source import SourceLine
from harness.execution import stages
from harness.execution.evidence import Call, Record, Run
from harness.findings.finding import Finding, WidthOrigin
from harness.findings.origins import origin, pad_of_rows
from harness.ops.tensor_meta import TensorMeta, bracket

_CASTS = {"_to_copy", "to", "copy", "copy_"}
_NAMED = {stages.ROUTER, stages.EXPERTS, stages.SCALING, stages.UP, stages.SHARED, stages.ADD, stages.REDUCE}


def look(run: Run) -> list[Finding] | None:
    """One finding for each call whose output is not [tokens, hidden], contiguous, in the input's dtype and on its device.

    Of the varied calls, the first such call has the one finding.
    """
    returned = [call for call in run.calls if call.error is None and call.inputs]
    found = [(call, finding) for call in returned if (finding := _judge(run, call))]
    first = next((finding for call, finding in found if finding.kind == "wrong-dtype" and call.records), None)
    found = [(call, _like(first, finding) if first and not call.records else finding) for call, finding in found]
    varied = next((call for call, _ in found if call.varied), None)
    return [finding for call, finding in found if not call.varied or call is varied] if returned else None


def _judge(run: Run, call: Call) -> Finding | None:
    if not isinstance(call.output, Tensor):
        return _finding(run, call, "not-a-tensor", f"the layer returned a {type(call.output).__name__}", "one tensor")
    meta, given = TensorMeta.of(call.output), TensorMeta.of(call.inputs[0])
    expected = (given.shape[0], run.case_of(call).hidden)
    if meta.shape != expected:
        return _finding(run, call, "wrong-shape", f"the output is {meta}", f"shape {bracket(expected)}")
    if meta.dtype != given.dtype and not _lowered(call, given, meta):
        return _finding(run, call, "wrong-dtype", f"the output is {meta.dtype}", given.dtype)
    if meta.device != given.device:
        return _finding(run, call, "wrong-device", f"the output is on {meta.device}", given.device)
    if not meta.contiguous and not _follows(given, meta):
        return _finding(run, call, "strided-output", f"the output is {meta}", "a contiguous tensor")
    return None


def _like(first: Finding, other: Finding) -> Finding:
    """The finding of a call whose ops were not recorded, at the place of the same finding where they were."""
    return replace(other, stage=first.stage, line=first.line) if other.what == first.what else other


def _follows(given: TensorMeta, output: TensorMeta) -> bool:
    """Whether the output is laid out as hidden_states are that came in transposed, as their sum with anything is."""
    return output.stride == given.stride and output.stride[-1] != 1


def _lowered(call: Call, given: TensorMeta, output: TensorMeta) -> bool:
    """Whether the call is a float32 layer's under autocast, which lowers the output of each product, a linear's too."""
    under_autocast = call.varied is not None and call.varied.name == "torch=autocast"
    return under_autocast and given.dtype == "float32" and output.dtype == "bfloat16"


def _finding(run: Run, call: Call, kind: str, what: str, expected: str) -> Finding:
    last = call.records[-1] if call.records else None
    case = run.case_of(call)
    padded = case.padded != case.width and isinstance(call.output, Tensor) and call.output.shape[-1:]
    leaked = padded and padded[0] == case.padded
    stage = stages.UNPAD if leaked or (kind == "strided-output" and case.padded != case.width) else stages.OUTPUT
    line = last.line if last else None
    if kind == "wrong-dtype" and last and isinstance(call.output, Tensor):
        stage, line = _where_cast(call.records, last, TensorMeta.of(call.output).dtype)
    cause = "The next layer expects an output with the shape, layout, dtype and device of hidden_states."
    if kind == "wrong-shape" and (of_rows := pad_of_rows(case, call.records)):
        stage, line, cause = stages.PAD, of_rows[0].line, of_rows[1]
    widths: tuple[WidthOrigin, ...] = (origin(run, call.records, last, 0),) if last and last.inputs else ()
    if kind == "wrong-shape" and stage == stages.OUTPUT and _is_of_experts(run, call, widths):
        stage, line = stages.EXPERTS, widths[0].line
    return Finding(
        observer="widths",
        kind=kind,
        stage=stage,
        what=f"{what}; expected {expected}",
        cause="The padding was not cut off." if leaked else cause,
        call=call.label,
        line=line,
        widths=widths,
        detail={"stride": TensorMeta.of(call.output).stride} if isinstance(call.output, Tensor) else {},
    )


def _is_of_experts(run: Run, call: Call, widths: tuple[WidthOrigin, ...]) -> bool:
    """Whether the rows are as many as they should be, and the experts' op gave them a width that is no size of the layer's."""
    assert isinstance(call.output, Tensor)
    case, shape = run.case_of(call), TensorMeta.of(call.output).shape
    if len(shape) != 2 or shape[0] != TensorMeta.of(call.inputs[0]).shape[0]:
        return False
    own = shape[1] in (case.hidden, case.width, case.padded)
    return not own and any(one.text == str(shape[1]) and one.stage.startswith(stages.EXPERTS) for one in widths)


def _where_cast(records: list[Record], last: Record, dtype: str) -> tuple[str, SourceLine | None]:
    """The stage and line of the first op on the output's way that gave it its dtype. A mere cast is the next op's."""
    record, stage = last, stages.OUTPUT
    while (source := _source_of_dtype(record, dtype)) is not None:
        stage, record = record.stage, records[source]
    if record.op.partition("::")[2] not in _CASTS:
        stage = record.stage
    return stage if stage in _NAMED else stages.OUTPUT, record.line


def _source_of_dtype(record: Record, dtype: str) -> int | None:
    """The record of the first input of rows that has the dtype already; None where none has. A mere factor has no rows."""
    rows = [(meta, source) for meta, source in zip(record.inputs, record.sources, strict=True) if len(meta.shape) > 1]
    return next((source for meta, source in rows if source is not None and meta.dtype == dtype), None)
