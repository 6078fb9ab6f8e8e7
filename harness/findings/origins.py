"""Origins: which op made a width, traced back through the records of a call."""

from harness.execution import stages
from harness.execution.evidence import Record, Run
from harness.findings.finding import WidthOrigin
from harness.matrix.case import Case
from harness.ops.tensor_meta import Size

_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "matmul"}
_TURNS = {"t", "transpose", "permute"}


def origin(run: Run, records: list[Record], record: Record, index: int) -> WidthOrigin:
    """What made the width of a record's input ``index``: the first op on its way that no input gave that width to."""
    width = meeting_width(record, index)
    source = record.sources[index]
    if source is None:
        return WidthOrigin(describe(run, width), "input or weight", None)
    last, maker = records[source], _maker(records, records[source], width)
    if maker is last and maker.op.partition("::")[2] in _TURNS and all(one is None for one in maker.sources):
        return WidthOrigin(describe(run, width), "input or weight", None)
    stage = maker.stage if last.stage == maker.stage else f"{maker.stage}, unchanged through {last.stage}"
    return WidthOrigin(describe(run, width), stage, maker.line)


def named(run: Run, records: list[Record], failed: Record | None, size: int) -> WidthOrigin:
    """What a width is that an exception's text names, and what made it where the records show that.

    That is the op of an input of the op that failed. Else it is the one op by which every tensor has that width that a record gives.
    """
    given = [index for index in range(len(failed.inputs)) if meeting_width(failed, index) == size] if failed else []
    if failed and given:
        return origin(run, records, failed, given[0])
    makers = [
        _maker(records, record, size) for record in records if any(one and one.width == size for one in record.outputs)
    ]
    text, one = describe(run, size), makers[0] if makers else None
    known = one is not None and all(maker is one for maker in makers)
    return WidthOrigin(text, one.stage, one.line) if one and known else WidthOrigin(text, "", None)


def _maker(records: list[Record], record: Record, width: Size) -> Record:
    """The first op on a record's way that no input gave that width to."""
    while (source := _source_of_width(record, width)) is not None:
        record = records[source]
    return record


def meeting_width(record: Record, index: int) -> Size:
    """The width of an input that must fit: the last one, or the rows of a product's right side, which is [K, N]."""
    meta = record.inputs[index]
    is_right = index and index == len(record.inputs) - 1 and record.op.partition("::")[2] in _PRODUCTS
    return meta.shape[-2] if is_right and len(meta.shape) > 1 else meta.width


def _source_of_width(record: Record, width: Size) -> int | None:
    """The record that gave this one its width; None where a matmul, a pad or the layer's own input did."""
    if record.stage in (stages.UP, stages.DOWN, stages.SHARED, stages.PAD):
        return None
    have = [source for meta, source in zip(record.inputs, record.sources, strict=True) if meta.width == width]
    return next((source for source in have if source is not None), None)


def first_after(records: list[Record], earlier: str, later: str) -> Record | None:
    """The first record of the stage ``later`` with an input that came through one of the stage ``earlier``."""
    through: list[bool] = []  # for each record, whether it is of that stage or came through it; makers come first
    for record in records:
        came = any(through[source] for source in record.sources if source is not None)
        if came and record.stage == later:
            return record
        through.append(came or record.stage == earlier)
    return None


def pad_of_rows(case: Case, records: list[Record]) -> tuple[Record, str] | None:
    """The pad that adds rows where the layer pads columns, with what it does; None where no pad does, or one adds columns."""
    pads = [r for r in records if r.stage == stages.PAD and r.inputs and r.outputs and r.outputs[0]]
    if case.padded == case.width or any(one and one.width == case.padded for r in pads for one in r.outputs):
        return None
    for record in pads:
        before, after = record.inputs[0], record.outputs[0]
        if after and len(before.shape) == len(after.shape) == 2 and str(before.shape[0]) != str(after.shape[0]):
            what = f"The pad makes {after.shape[0]} rows of {before.shape[0]}, and leaves their {before.width} columns."
            return record, what
    return None


def describe(run: Run, width: Size) -> str:
    """Which width of the case this is; a symbolic width as its expression."""
    return run.case.describe_width(width) if isinstance(width, int) else str(width)
