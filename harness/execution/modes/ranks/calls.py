"""One call of the layer on this rank: noted when it begins, at each collective, and when the device has done the work."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from harness.execution.evidence import Call, Run
from harness.execution.ranks.collective_log import CollectiveLog, Note, note_call, note_end, note_repeated
from harness.execution.recorder import Recorder
from harness.execution.rig import Rig


def eager_call(
    rig: Rig, run: Run, label: str, tokens: int, seed: int, recorder: Recorder | None = None
) -> tuple[Call, list[Note]]:
    """A plain call, and the notes of its collectives."""
    assert run.layer is not None
    log = CollectiveLog(rig.declared.reduces_by)
    note_call(label)
    with log:
        call = rig.call(run, run.layer, label, tokens, seed, recorder)
    _end(rig, label)
    return call, log.notes


def blind_call(rig: Rig, label: str, function: Callable[[], Any], collectives: Iterable[Note]) -> Any:
    """A call that dispatches no ops: ``collectives`` are those that it is known to run."""
    note_call(label)
    note_repeated(collectives)
    out = function()
    _end(rig, label)
    return out


def _end(rig: Rig, label: str) -> None:
    if rig.device.type == "cuda":
        torch.cuda.synchronize(rig.device)
    note_end(label)
