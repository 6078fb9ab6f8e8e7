"""Exceptions of custom ops: no fake, a fake that needs data, an implementation that raised."""

import re

from harness.base.exception_text import first_line
from harness.execution.evidence import Run
from harness.findings.finding import Finding, WidthOrigin
from harness.findings.readers.raised import Raised
from harness.ops.returned import wrong_return

_RETURNED = "The function that is registered for the op and the op's schema belong to different ops, or one of them changed alone."
# What torch says of operands inside an op, which has no record of its own.
_ABOUT_SHAPES = re.compile(r"shape|[Ss]ize")


def custom_op(raised: Raised) -> Finding | None:
    """A custom op raised, or torch raised because the op has no fake."""
    record, kind = raised.record, raised.diagnosis.kind
    if record is None or not record.custom:
        return None
    missing = kind == "missing-fake"
    cause = "The op has no fake implementation, so it cannot be traced." if missing else _cause(raised.run)
    if kind == "data-dependent":
        cause = "The fake implementation reads the values of a tensor, which a trace does not have."
    what = f"{type(raised.error).__name__}: {first_line(raised.error)}"
    if returned := wrong_return(raised.error):
        what, cause = f"{'its fake' if _traces(raised.run) else 'it'} {returned}", _RETURNED
    return Finding(
        observer="contract",
        kind="no-fake" if missing else "op-raised",
        stage=record.stage,
        what=f"{record.op}: {what}",
        cause=cause,
        call=raised.call.label,
        line=raised.line or record.line,
        widths=tuple(WidthOrigin(text, record.stage, raised.line) for text in _met(raised)),
        detail={"failure": kind},
    )


def _met(raised: Raised) -> list[str]:
    """The layer's widths that torch's message about shapes names, each once, in its order."""
    case, text = raised.run.case, first_line(raised.error)
    if not _ABOUT_SHAPES.search(text):
        return []
    sizes = dict.fromkeys(int(size) for size in re.findall(r"\d+", text))
    return [words for size in sizes if (words := case.describe_width(size)) != str(size)]


def _cause(run: Run) -> str:
    return "The op's fake implementation raised in a trace." if _traces(run) else "The op's implementation raised."


def _traces(run: Run) -> bool:
    """The records of a compiled call are those of a FakeTensor trace, so there it was the fake that raised too."""
    return run.mode.startswith(("fake", "compiled")) or run.mode == "cudagraph-compiled"
