"""Exceptions of CUDA graphs: a capture that was refused or skipped, and memory that was freed after it."""

import re

from harness.base.exception_text import first_line, user_line
from harness.execution.capture import NotCaptured
from harness.execution.capture_rules import CaptureRefused
from harness.execution.evidence import Call, Run
from harness.execution.external_memory import FreedMemory
from harness.findings.finding import Finding

_SKIPPED_GRAPH = re.compile(r"skipping cudagraph[^\n]*")
# In the text of CUDA's own errors during a capture.
_CAPTURE_WORDS = ("capturing", "captured", "cudaErrorStreamCapture")


def freed_memory(run: Run, call: Call, error: BaseException) -> Finding | None:
    """Memory that a graph reads was freed or moved before a replay."""
    if not isinstance(error, FreedMemory):
        return None
    alone = f": {error.cache} alone holds it, and frees it after enough other batch sizes" if error.cache else ""
    return Finding(
        observer="addresses",
        kind="freed-memory",
        stage="replay",
        what=f"{error}{alone}",
        cause="A CUDA graph stores addresses: the layer freed or replaced memory that the graph reads at each replay."
        + (f" The graphs were captured from the {_order(call)}." if "graph for" in call.label else ""),
        call=call.label,
        line=error.line,
    )


def _order(call: Call) -> str:
    return "smallest batch to the largest" if call.varied else "largest batch to the smallest"


def not_captured(run: Run, call: Call, error: BaseException) -> Finding | None:
    """torch.compile made no CUDA graph, or did not replay the one that it made."""
    skipped = _SKIPPED_GRAPH.search(str(error))
    if not isinstance(error, NotCaptured) and not skipped:
        return None
    return Finding(
        observer="capture",
        kind="not-captured",
        stage="capture",
        what=skipped[0] if skipped else str(error),
        cause=getattr(error, "cause", NotCaptured.cause),
        call=call.label,
    )


def capture_refused(run: Run, call: Call, error: BaseException) -> Finding | None:
    """The layer did something that a capture refuses."""
    if not isinstance(error, CaptureRefused) and not any(word in str(error) for word in _CAPTURE_WORDS):
        return None
    return Finding(
        observer="capture",
        kind="capture-refused",
        stage="capture",
        what=first_line(error),
        cause=getattr(error, "cause", CaptureRefused.cause),
        call=call.label,
        line=getattr(error, "line", None) or user_line(error),
    )
