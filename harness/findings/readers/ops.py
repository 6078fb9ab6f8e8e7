"""Exceptions of custom ops: no fake, a fake that needs data, an implementation that raised."""

import re
from collections.abc import Iterator

from harness.base.exception_text import first_line
from harness.execution.evidence import Record
from harness.execution.stages import EXPERTS, PAD
from harness.findings.finding import Finding, WidthOrigin
from harness.findings.origins import origin
from harness.findings.readers.raised import Raised
from harness.ops.returned import wrong_return

_RETURNED = "The function that is registered for the op and the op's schema belong to different ops, or one of them changed alone."
# What torch says of operands inside an op, which has no record of its own.
_ABOUT_SHAPES = re.compile(r"shape|[Ss]ize")
_ELEMENTS = re.compile(r"input of size \d+")  # a count of elements
_PRODUCT = re.compile(r"mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)")


def custom_op(raised: Raised) -> Finding | None:
    """A custom op raised, or torch raised because the op has no fake."""
    record, kind = raised.record, raised.diagnosis.kind
    if record is None or not record.custom:
        return None
    missing = kind == "missing-fake"
    cause = "The op has no fake implementation, so it cannot be traced." if missing else _cause(raised)
    if kind == "data-dependent":
        cause = "The fake implementation reads the values of a tensor, which a trace does not have."
    what = f"{type(raised.error).__name__}: {first_line(raised.error)}"
    stage = raised.stage
    if unpadded := _unpadded(raised, record):
        stage, cause = PAD, f"{cause} {unpadded}"
    if returned := wrong_return(raised.error):
        what, cause = f"{'its fake' if _traces(raised) else 'it'} {returned}", _RETURNED
    return Finding(
        observer="contract",
        kind="no-fake" if missing else "op-raised",
        stage=stage,
        what=f"{record.op}: {what}",
        cause=cause,
        call=raised.call.label,
        line=raised.line or record.line,
        widths=tuple(_met(raised, record)),
        detail={"failure": kind},
    )


def _unpadded(raised: Raised, record: Record) -> str:
    """What lacks where the routed experts' op multiplies rows of another width by padded weights; empty if it does not."""
    case, met = raised.run.case, _PRODUCT.search(first_line(raised.error))
    if met is None or record.stage != EXPERTS or int(met[2]) != case.padded or case.padded == case.width:
        return ""
    width = int(met[1])
    if not record.inputs or record.inputs[0].width != width:  # the op itself makes that width
        return ""
    if width != case.width and not origin(raised.run, raised.call.records, record, 0).stage.startswith(PAD):
        return ""
    return f"The rows have {width} columns, and the weights {case.padded}: before this product the rows are not padded to that."


def _met(raised: Raised, record: Record) -> Iterator[WidthOrigin]:
    """The widths that torch's message about shapes names, each once, in its order: those of the op's inputs and of rows.

    Inside of the op no record shows what made one. A number that is no width of rows may be a workspace's, or any other.
    """
    case, text = raised.run.case, first_line(raised.error)
    if not _ABOUT_SHAPES.search(text):
        return
    given = {meta.width: index for index, meta in reversed(list(enumerate(record.inputs)))}
    product = _PRODUCT.search(text)  # whose other two sizes do not meet
    of_rows = (case.hidden, case.width, case.padded)
    for size in dict.fromkeys(
        int(size) for size in (product.groups() if product else re.findall(r"\d+", _ELEMENTS.sub("", text)))
    ):
        if size in given and (product or size in of_rows):
            made = origin(raised.run, raised.call.records, record, given[size])
            if made.line or size in of_rows:
                yield made
        elif size in of_rows:
            yield WidthOrigin(case.describe_width(size), "", None)


def _cause(raised: Raised) -> str:
    return "The op's fake implementation raised in a trace." if _traces(raised) else "The op's implementation raised."


def _traces(raised: Raised) -> bool:
    """The records of a compiled call are those of a FakeTensor trace, so there it was the fake that raised too."""
    mode = raised.run.mode
    return not raised.in_eager and (mode.startswith(("fake", "compiled")) or mode == "cudagraph-compiled")
