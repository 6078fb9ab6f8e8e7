"""Exceptions of CUDA graphs: a capture that was refused or skipped, and memory that was freed after it."""

from harness.base.exception_text import first_line
from harness.execution.capture import NotCaptured
from harness.execution.capture_rules import CaptureRefused
from harness.execution.evidence import Call
from harness.execution.memory.external_memory import FreedMemory
from harness.findings.finding import Finding
from harness.findings.readers.raised import Raised

UNWRITTEN_IN_CAPTURE = (
    "A capture executes nothing. What is made in it, such as a buffer that is zeroed when it is made, has no contents before "
    "the first replay of that graph, and every replay of that graph makes it anew. Make it before the captures."
)
_SKIPPING = "skipping cudagraphs"


def freed_memory(raised: Raised) -> Finding | None:
    """Memory that a graph reads was freed or moved before a replay."""
    error = raised.error
    if not isinstance(error, FreedMemory):
        return None
    alone = f": {error.cache} alone holds it, and frees it after enough other batch sizes" if error.cache else ""
    return Finding(
        observer="addresses",
        kind="freed-memory",
        stage="replay",
        what=f"{error}{alone}",
        cause="A CUDA graph stores addresses: the layer freed or replaced memory that the graph reads at each replay."
        + (f" The graphs were captured from the {_order(raised.call)}." if "graph for" in raised.call.label else ""),
        call=raised.call.label,
        line=error.line,
    )


def _order(call: Call) -> str:
    return "smallest batch to the largest" if call.varied else "largest batch to the smallest"


def other_graphs_memory(raised: Raised) -> Finding | None:
    """A replay raised that reads memory which the capture of another graph made: an index of it may be anything."""
    unwritten = raised.call.unwritten
    if unwritten is None:
        return None
    return Finding(
        observer="poison",
        kind="other-graphs-memory",
        stage="replay",
        what=f"{unwritten}; {type(raised.error).__name__}: {first_line(raised.error)}",
        cause=UNWRITTEN_IN_CAPTURE,
        call=raised.call.label,
        line=unwritten.line,
    )


def not_captured(raised: Raised) -> Finding | None:
    """torch.compile made no CUDA graph, or did not replay the one that it made."""
    error, skipped = raised.error, raised.diagnosis.finding == "not-captured"
    if not isinstance(error, NotCaptured) and not skipped:
        return None
    return Finding(
        observer="capture",
        kind="not-captured",
        stage="capture",
        what=_skipping(str(error)) if skipped else str(error),
        cause=getattr(error, "cause", NotCaptured.cause),
        call=raised.call.label,
    )


def capture_refused(raised: Raised) -> Finding | None:
    """The layer did something that a capture refuses."""
    error = raised.error
    if not isinstance(error, CaptureRefused) and raised.diagnosis.finding != "capture-refused":
        return None
    return Finding(
        observer="capture",
        kind="capture-refused",
        stage="capture",
        what=first_line(error),
        cause=getattr(error, "cause", raised.diagnosis.cause),
        call=raised.call.label,
        line=getattr(error, "line", None) or raised.line,
    )


def _skipping(text: str) -> str:
    """The line in which torch says why it skips CUDA graphs."""
    line = next(line for line in text.splitlines() if _SKIPPING in line)
    return line[line.index(_SKIPPING) :]
