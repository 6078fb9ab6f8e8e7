"""What a rank's output is made of: the share of wrong values, and how much of which rank's shard is in it."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.execution.difference import TOLERANCE, total
from harness.execution.evidence import Call
from harness.matrix.case import Case
from harness.subjects.subject import Subject

# The output is a mix of shards where what the mix leaves is below this share of the oracle's rms.
_REST = 0.03
_NEAR = 0.05


@dataclass(frozen=True, slots=True)
class Shares:
    """Looks at one rank's outputs. The oracle of copies gives rank 0's shard; that of all ranks less this, the others'."""

    subject: Subject
    case: Case
    rank: int

    def of(self, calls: list[Call]) -> dict[str, dict[str, Any]]:
        """For each call whose output is wrong, by its label: ``share`` of wrong values, and the ``mix`` if it is one."""
        compared = [call for call in calls if isinstance(call.snapshot, Tensor) and call.expected is not None]
        shares = {call.label: self._of(call) for call in compared if _same_shape(call)}
        return {label: share for label, share in shares.items() if share["share"] > 0}

    def _of(self, call: Call) -> dict[str, Any]:
        assert call.snapshot is not None
        assert call.expected is not None
        output, expected = call.snapshot.float(), total(call.expected)
        bound = TOLERANCE * expected.square().mean().sqrt()
        near = (output - expected).abs() <= bound  # NaN is not near
        wrong = 1.0 - near.float().mean().item() if near.numel() else 0.0
        return {"share": wrong} | (self._mix(call, output, expected) if wrong and bool(output.isfinite().all()) else {})

    def _mix(self, call: Call, output: Tensor, expected: Tensor) -> dict[str, Any]:
        """The factors of rank 0's shard and of the others' whose sum the output is; nothing where there are none."""
        first = total(self.subject.oracle(replace(self.case, rank=None, tp=1, collective=""), call.before))
        parts = torch.stack([first.flatten(), (expected - first).flatten()], 1).double()
        if not bool(parts.square().sum(0).gt(0).all()):
            return {}
        factors = torch.linalg.lstsq(parts.cpu(), output.flatten().double().cpu()[:, None]).solution[:, 0]
        rest = output.flatten().double().cpu() - parts.cpu() @ factors
        if rest.square().mean().sqrt() > _REST * expected.square().mean().sqrt():
            return {}
        return {"mix": [round(float(factor), 3) for factor in factors]}


def _same_shape(call: Call) -> bool:
    assert call.snapshot is not None
    assert call.expected is not None
    return call.snapshot.shape == total(call.expected).shape


def is_partial(mix: list[float], rank: int, size: int) -> bool:
    """Whether a mix is this rank's shard alone, as far as it tells the ranks apart."""
    own = [1.0, 0.0] if rank == 0 else [0.0, 1.0]
    return (rank == 0 or size == 2) and _near(mix[0], own[0]) and _near(mix[1], own[1])


def right_for_copies(mix: list[float], size: int) -> bool:
    """Whether the same mix is right where every rank holds a copy of rank 0's shard."""
    return _near(mix[0] + mix[1] * (size - 1), float(size))


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) < _NEAR
