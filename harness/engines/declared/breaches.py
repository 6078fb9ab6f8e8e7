"""All samples of an op on which a row breaks. The audit names only the first, and a release may fix just one of them."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from harness.audit.context import AuditedOp
from harness.audit.ops import find
from harness.audit.row import BREAKS
from harness.audit.samples import Sample
from harness.audit.variants.kinds import GIVEN
from harness.audit.worker import look_at
from harness.engines.declared.running.capture import Captured
from harness.engines.declared.samples.table import fitting
from harness.execution.pinned import pinned

OPAQUE = ("mutation", "fake")  # of an op whose kernel makes its outputs
ROWS = ("mutation", "alias", "fake", "count", "shape", "stride", "dtype", "device")


def breaches(captured: Captured, op: str) -> list[dict[str, str]]:
    """(row, sample, what) of each breach. The rows that compile are left to the audit."""
    assert captured.real is not None
    broken: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="harness-breaches-") as folder, pinned():
        fitted = fitting(captured)
        for place, (label, arguments) in enumerate(fitted.samples):
            journal = Path(folder, f"{place}.jsonl")
            sample = Sample((), arguments)
            audited = AuditedOp.of(find(op), [sample], torch.device("cpu"), journal, kinds=(GIVEN,))
            broken += _broken(audited, label, OPAQUE if fitted.opaque else ROWS)
    return broken


def _broken(audited: AuditedOp, label: str, rows: tuple[str, ...]) -> list[dict[str, Any]]:
    if not audited.accepted:
        return []
    results = {row: look_at(audited, row) for row in rows}
    return [
        {"row": row, "sample": label, "what": result.what} for row, result in results.items() if result.status == BREAKS
    ]
