"""What a router selects and what the experts are given, inside an op that does both: noted in a second look, and only there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_Routing = tuple[Tensor, Tensor]
"""Weights and ids, both [T, K]."""
_ROUNDING = 0.02  # of a weight that is cast to bfloat16 and back

_noted: dict[str, _Routing] | None = None


def note_routing(where: str, weights: Tensor, ids: Tensor) -> None:
    """Note a routing as it is now, ``selected`` by the router or ``given`` to the experts. Does nothing outside of a second look."""
    if _noted is not None:
        _noted.setdefault(where, (weights.detach().clone(), ids.detach().clone()))


@contextmanager
def noting_routing() -> Iterator[dict[str, _Routing]]:
    """Inside a ``with`` block the first routing of each kind is noted."""
    global _noted
    before, _noted = _noted, {}
    try:
        yield _noted
    finally:
        _noted = before


def is_changed(noted: dict[str, _Routing]) -> bool:
    """Whether the experts were given other weights for an expert than the router selected, whatever the order in a row."""
    if {*noted} != {"selected", "given"}:
        return False
    count = 1 + max(int(ids.max()) if ids.numel() else 0 for _, ids in noted.values())
    selected, given = (_table(*noted[where], count) for where in ("selected", "given"))
    return selected.shape != given.shape or not torch.allclose(selected, given, rtol=_ROUNDING, atol=1e-3)


def _table(weights: Tensor, ids: Tensor, experts: int) -> Tensor:
    """The weight of each expert in each row [T, E]. An id below zero names none."""
    ids, weights = ids.long(), weights.float()
    table = torch.zeros(len(ids), experts, device=ids.device)
    return table.scatter_add_(1, ids.clamp(min=0), weights.masked_fill(ids < 0, 0))
