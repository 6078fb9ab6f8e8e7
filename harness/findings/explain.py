"""From an exception to a finding: the readers are asked in turn, and the first that recognises it writes the finding."""

from dataclasses import replace

from harness.base.exception_text import first_line, user_line
from harness.execution.evidence import Call, Run
from harness.findings.finding import Finding
from harness.findings.readers import capturing, compiling, ops, shapes

# In this order. A compiled layer's error carries the text of the error inside it, so the most specific texts come first.
READERS = (
    capturing.freed_memory,
    capturing.not_captured,
    capturing.capture_refused,
    compiling.size_assert,
    compiling.graph_break,
    compiling.recompile_limit,
    shapes.strided_collective,
    shapes.width_mismatch,
    ops.custom_op,
)


_ON_DATA = ("raised", "op-raised")  # other kinds of exceptions are of the shapes, which a trace knows
_TRACE_IS_CLEAN = "It raises on real tensors and traces clean: the modes fake and fake-dynamic prove nothing here."


def explain(run: Run, call: Call) -> Finding:
    """The finding for a call that raised."""
    error = call.error
    assert error is not None
    found = (finding for reader in READERS if (finding := reader(run, call, error)))
    finding = next(found, None) or _raised(call, error)
    on_data = run.trace_is_clean and finding.kind in _ON_DATA
    return replace(finding, cause=f"{finding.cause} {_TRACE_IS_CLEAN}") if on_data else finding


def _raised(call: Call, error: BaseException) -> Finding:
    record = call.failed_record
    return Finding(
        observer="widths",
        kind="raised",
        stage=record.stage if record else "layer",
        what=f"{type(error).__name__}: {first_line(error)}",
        cause="The layer raised before it returned an output.",
        call=call.label,
        line=(record.line if record else None) or user_line(error),
    )
