"""A strided tensor at a collective: as an exception and in the records, and which op gave it its strides."""

from harness.base.exception_text import first_line
from harness.execution import stages
from harness.execution.evidence import Call, Record, Run
from harness.findings.finding import Finding
from harness.findings.origins import origin
from harness.findings.readers.raised import Raised

STRIDED_CAUSE = (
    "A slice, such as the one that cuts the padding off, is a view. Make it contiguous before the collective."
)
_STRIDED_BY_OP = (
    "{} gives it with these strides: in a trace its fake does, which is wrong where the kernel writes dense rows; else make it "
    "contiguous before the collective."
)


def strided_collective(raised: Raised) -> Finding | None:
    """A collective failed on a strided tensor, which it flattens with view(-1).

    In eager the recorded collective raised. Compiled code records no op: there only torch's message about the view tells.
    """
    run, call, error, record = raised.run, raised.call, raised.error, raised.record
    if record is not None and record.stage == stages.REDUCE:
        if record.inputs and record.inputs[0].contiguous:
            return None  # it failed for another reason
        return not_contiguous(run, call, record, first_line(error))
    if raised.diagnosis.kind != "view" or run.case.tp == 1:
        return None
    reduced = [r for r in call.records if r.stage == stages.REDUCE and r.inputs and not r.inputs[0].contiguous]
    return not_contiguous(run, call, reduced[0] if reduced else None, first_line(error))


def not_contiguous(run: Run, call: Call, record: Record | None, error: str = "") -> Finding:
    """The finding for a collective that got a strided tensor. ``record`` is the collective's, if there is one."""
    meta = record.inputs[0] if record and record.inputs else None
    what = f"the all-reduce was given {meta}" if meta else "an all-reduce seems to have been given a strided tensor"
    what += ", a view that is not contiguous" if meta and not meta.contiguous else ""
    made_by = _custom_op_of(call, record)
    return Finding(
        observer="collectives",
        kind="not-contiguous",
        stage=stages.REDUCE,
        what=f"{what}: {error}" if error else what,
        cause=_STRIDED_BY_OP.format(made_by) if made_by else _in_place(call, record) or STRIDED_CAUSE,
        call=call.label,
        line=record.line if record else None,
        caller=record.caller if record else None,
        widths=(origin(run, call.records, record, 0),) if record and record.inputs else (),
        detail=({"stride": meta.stride} if meta else {}) | ({"made_by": made_by} if made_by else {}),
    )


def _custom_op_of(call: Call, record: Record | None) -> str:
    """The custom op that gave a collective its input, with no op between; empty where another op did."""
    maker = _maker(call, record)
    return maker.op if maker and maker.custom else ""


def _in_place(call: Call, record: Record | None) -> str:
    """The cause where ops in place keep the strides of a view up to the collective: each with its line; empty where none does."""
    kept: list[Record] = []
    maker = _maker(call, record)
    while maker and maker.op.endswith("_") and maker.inputs and not maker.inputs[0].contiguous:
        kept.insert(0, maker)
        maker = _maker(call, maker)
    if not kept or maker is None or not stages.is_cut(maker.op):
        return ""
    writers = " and ".join(_placed(one) for one in kept)
    return (
        f"The {_placed(maker)} gives a view. The {writers} write{'' if len(kept) > 1 else 's'} into it in place, so that its "
        "strides stay: out of place the last one gives dense rows. Else make it contiguous before the collective."
    )


def _placed(record: Record) -> str:
    """An op's name with its line."""
    return f"{record.op.partition('::')[2]}{f' at {record.line}' if record.line else ''}"


def _maker(call: Call, record: Record | None) -> Record | None:
    """The record of the op that gave the first input; None where none did."""
    source = record.sources[0] if record and record.sources else None
    return call.records[source] if source is not None else None
