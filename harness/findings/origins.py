"""Origins: which op made a width, traced back through the records of a call."""

from harness.execution import stages
from harness.execution.evidence import Record, Run
from harness.findings.finding import WidthOrigin
from harness.ops.tensor_meta import Size


def origin(run: Run, records: list[Record], record: Record, index: int) -> WidthOrigin:
    """What made the width of a record's input ``index``: the first op on its way that no input gave that width to."""
    width = record.inputs[index].width
    source = record.sources[index]
    if source is None:
        return WidthOrigin(describe(run, width), "input or weight", None)
    last = maker = records[source]
    while (source := _source_of_width(maker, width)) is not None:
        maker = records[source]
    stage = maker.stage if last is maker else f"{maker.stage}, unchanged through {last.stage}"
    return WidthOrigin(describe(run, width), stage, maker.line)


def _source_of_width(record: Record, width: Size) -> int | None:
    """The record that gave this one its width; None where a matmul, a pad or the layer's own input did."""
    if record.stage in (stages.UP, stages.DOWN, stages.SHARED, stages.PAD):
        return None
    have = [source for meta, source in zip(record.inputs, record.sources, strict=True) if meta.width == width]
    return next((source for source in have if source is not None), None)


def describe(run: Run, width: Size) -> str:
    """Which width of the case this is; a symbolic width as its expression."""
    return run.case.describe_width(width) if isinstance(width, int) else str(width)
