"""A layer that lowers Python's recursion limit is told so: neither its op's fake nor torch is to blame."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from fixtures.planting import SHARED
from harness.findings.finding import FINDINGS
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.verdict.judge import judge
from harness.verdict.recursion import with_limit
from kernels.layer.subject import InTree


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)


def depth() -> int:
    frame, count = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        count += 1
    return count


def nested(frames: int, call: Callable[[], Any]) -> Any:
    """The call from so many frames deeper."""
    return nested(frames - 1, call) if frames else call()


class Lowers(InTree):
    """Lowers the limit in each call, to a few frames more than it is called with, and needs more."""

    def build(self, case: Case, device: torch.device) -> Callable[..., Any]:
        layer = super().build(case, device)

        def forward(*inputs: Any) -> Any:
            sys.setrecursionlimit(depth() + 45)
            return nested(60, lambda: layer(*inputs))  # a release of Python or torch may need fewer than 45 by itself

        return forward


class Recurses(InTree):
    """Calls itself without end, at the limit that Python has."""

    def build(self, case: Case, device: torch.device) -> Callable[..., Any]:
        def forward(*inputs: Any) -> Any:
            return forward(*inputs)

        return forward


def test_a_lowered_limit_is_the_finding() -> None:
    verdict = judge(Lowers(), SHARED, MODES["eager"], torch.device("cpu"))
    assert verdict.status == FINDINGS
    assert [finding.kind for finding in verdict.findings] == ["global-state"]
    assert "Python's recursion limit was lowered from " in verdict.findings[0].what
    assert "no-fake" not in str(verdict)


def test_a_layer_without_end_is_to_blame_itself() -> None:
    verdict = judge(Recurses(), SHARED, MODES["eager"], torch.device("cpu"))
    assert [finding.kind for finding in verdict.findings] == ["raised"]
    assert "RecursionError" in verdict.findings[0].what


def test_an_error_of_another_kind_stays() -> None:
    assert with_limit("error", "ValueError: no", (), [60]) == ("error", "ValueError: no", ())
    assert with_limit("error", "RecursionError: deep", (), [0]) == ("error", "RecursionError: deep", ())
