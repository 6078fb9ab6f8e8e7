"""Exceptions that only their text tells: what `harness diagnose` knows of it, as a finding."""

import torch

from harness.base.exception_text import first_line, raised_by_compiler, raised_on_fakes
from harness.diagnosis.readers.rows import counts_rows
from harness.findings.finding import Finding, WidthOrigin
from harness.findings.origins import describe
from harness.findings.readers.raised import Raised

# Who reports each kind of finding; of those not listed, the observer of widths.
_OBSERVERS = {
    "fake-differs": "contract",
    "no-fake": "contract",
    "signature": "contract",
    "undeclared-alias": "alias",
    "mutated-input": "alias",
    "specialised": "recompiles",
    "not-contiguous": "collectives",
}


def by_text(raised: Raised) -> Finding:
    """The finding for an exception by its kind of failure; ``raised`` where that has none of its own."""
    diagnosis, record = raised.diagnosis, raised.record
    known = record is not None or diagnosis.finding == "raised"
    stage = raised.stage if known else diagnosis.stage or "layer"
    return Finding(
        observer=_OBSERVERS.get(diagnosis.finding, "widths"),
        kind=diagnosis.finding,
        stage=stage,
        what=f"{type(raised.error).__name__}: {first_line(raised.error)}",
        cause=diagnosis.cause if diagnosis.kind != "exception" else _cause(raised),
        call=raised.call.label,
        line=(record.line if record else None) or raised.line,
        widths=() if counts_rows(diagnosis) else _widths(raised, stage),
        detail={"failure": diagnosis.kind},
        similar_to=tuple(
            f"{relative.id} (fixed by {relative.fixed_by})" if relative.fixed_by else relative.id
            for relative in diagnosis.relatives
        ),
    )


def _cause(raised: Raised) -> str:
    """The cause of an exception that its text does not tell."""
    if raised_on_fakes(raised.error):
        called = raised.facts.op or "a call"
        return f"While tracing, {called} raised this on fake tensors: its fake implementation refuses what the layer gives it."
    if raised_by_compiler(raised.error):
        return (
            f"torch.compile raised this while it compiled the layer: a limit or a fault of torch {torch.__version__}."
        )
    return "The layer raised before it returned an output."


def _widths(raised: Raised, stage: str) -> tuple[WidthOrigin, ...]:
    return tuple(WidthOrigin(describe(raised.run, width.size), stage, None) for width in raised.diagnosis.widths)
