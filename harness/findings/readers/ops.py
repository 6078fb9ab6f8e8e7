"""Exceptions of custom ops: no fake, a fake that needs data, an implementation that raised."""

from harness.base.exception_text import first_line
from harness.execution.evidence import Call, Run
from harness.findings.finding import Finding

_DATA_ERRORS = ("DataDependent", "DynamicOutputShape")


def custom_op(run: Run, call: Call, error: BaseException) -> Finding | None:
    """A custom op raised, or torch raised because the op has no fake."""
    record = call.failed_record
    if record is None or not record.custom:
        return None
    name = type(error).__name__
    missing = "register_fake" in str(error) or name == "UnsupportedOperatorException"
    cause = "The op has no fake implementation, so it cannot be traced." if missing else _cause(run)
    if any(word in name for word in _DATA_ERRORS):
        cause = "The fake implementation reads the values of a tensor, which a trace does not have."
    return Finding(
        observer="contract",
        kind="no-fake" if missing else "op-raised",
        stage=record.stage,
        what=f"{record.op}: {name}: {first_line(error)}",
        cause=cause,
        call=call.label,
        line=record.line,
    )


def _cause(run: Run) -> str:
    """The records of a compiled call are those of a FakeTensor trace, so there it was the fake that raised too."""
    traced = run.mode.startswith(("fake", "compiled")) or run.mode == "cudagraph-compiled"
    return "The op's fake implementation raised in a trace." if traced else "The op's implementation raised."
