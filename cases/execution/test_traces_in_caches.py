"""What a trace leaves in the caches of a module changes no later verdict of the process."""

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

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


class ByCache(PaddedMoELayer):
    """The experts on the tokens last first, by an order from a module's cache."""

    def order(self, x: Tensor) -> Tensor:
        return _cached(x.shape[0], x.device)

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        order = self.order(x)
        return super().run_experts(x[order], topk_ids[order], topk_weights[order])[order]


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
