"""What a trace leaves in the caches of a module changes no later verdict of the process."""

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.faults.captured import OrderFromCache
from fixtures.planting import SMALL, Planted
from harness.findings.finding import OK
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
_ORDERS: dict[Any, Tensor] = {}
_LAST: dict[str, Any] = {"rows": None}


def _order(tokens: int, device: torch.device) -> Tensor:
    return torch.arange(tokens - 1, -1, -1, device=device)


@lru_cache(maxsize=64)
def _cached(tokens: int, device: torch.device) -> Tensor:
    return _order(tokens, device)


class ByCache(OrderFromCache):
    """The order comes from a cache of the module that has room for every batch."""

    def order(self, x: Tensor) -> Tensor:
        return _cached(x.shape[0], x.device)


class ByTable(ByCache):
    def order(self, x: Tensor) -> Tensor:
        key = (x.shape[0], x.device)
        if key not in _ORDERS:
            _ORDERS[key] = _order(*key)
        return _ORDERS[key]


class ByLast(ByCache):
    def order(self, x: Tensor) -> Tensor:
        if _LAST["rows"] is None or len(_LAST["rows"]) != x.shape[0]:
            _LAST["rows"] = _order(x.shape[0], x.device)
        rows: Tensor = _LAST["rows"]
        return rows


@pytest.mark.parametrize("kind", [ByCache, ByTable, ByLast])
def test_a_correct_layer_is_right_after_its_trace(kind: type[PaddedMoELayer]) -> None:
    subject = Planted(layer=kind)
    for mode in ("fake", "eager", "cudagraph", "fake", "eager"):
        verdict = judge(subject, SMALL, MODES[mode], CPU)
        assert (verdict.status, verdict.reason, verdict.findings) == (OK, "", ()), mode
