"""Origins: which op made a width, followed back through the records of a call."""

from harness.execution import stages
from harness.execution.evidence import Record, Run
from harness.findings.finding import WidthOrigin
from harness.ops.tensor_meta import Size


def origin(run: Run, records: list[Record], record: Record, place: int) -> WidthOrigin:
    """Who made the width of a record's input: the first record on its way that did not get that width already."""
    width = record.inputs[place].width
    maker, last = record.sources[place], record
    while maker is not None:
        last = records[maker]
        onward = _passed_on(last, width)
        if onward is None:
            break
        maker = onward
    if record.sources[place] is None:
        return WidthOrigin(describe(run, width), "input or weight", None)
    kept = records[record.sources[place] or 0]
    by = last.stage if kept is last else f"{last.stage}, kept by {kept.stage}"
    return WidthOrigin(describe(run, width), by, last.line)


def _passed_on(record: Record, width: Size) -> int | None:
    """The record that this one had the width from, unless a matmul or the layer's own input gave it."""
    if record.stage in (stages.UP, stages.DOWN, stages.SHARED, stages.PAD):
        return None
    have = [source for meta, source in zip(record.inputs, record.sources, strict=True) if meta.width == width]
    return next((source for source in have if source is not None), None)


def describe(run: Run, width: Size) -> str:
    """Which of the case's widths this is; a symbolic one as its expression."""
    return run.case.describe_width(width) if isinstance(width, int) else str(width)
