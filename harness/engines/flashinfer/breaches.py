"""Every sample of an op on which real and fake disagree: the audit's rows name the first, and a release may mend one of them."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from harness.audit.context import Audited
from harness.audit.ops import find
from harness.audit.row import BREAKS
from harness.audit.samples import Sample
from harness.audit.variants import GIVEN
from harness.audit.worker import look_at
from harness.engines.flashinfer.captured.capture import Captured
from harness.engines.flashinfer.samples.table import fitting
from harness.execution.pinned import pinned

ROWS = ("mutation", "alias", "fake", "count", "shape", "stride", "dtype", "device")


def breaches(found: Captured, op: str) -> list[dict[str, str]]:
    """(row, sample, what) of each that breaks; the parts that compile are left to the audit."""
    assert found.real is not None
    broken: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="harness-breaches-") as folder, pinned():
        for place, (label, arguments) in enumerate(fitting(found.name, found.real)):
            journal = Path(folder, f"{place}.jsonl")
            sample = Sample((), arguments)
            audited = Audited.of(find(op), [sample], torch.device("cpu"), journal, kinds=(GIVEN,))
            broken += _broken(audited, label)
    return broken


def _broken(audited: Audited, label: str) -> list[dict[str, Any]]:
    if not audited.accepted:
        return []
    seen = {row: look_at(audited, row) for row in ROWS}
    return [{"row": row, "sample": label, "what": one.what} for row, one in seen.items() if one.status == BREAKS]
