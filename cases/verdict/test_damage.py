"""A layer that takes from the process what torch needs is told so: neither its op's fake, torch nor the machine is to blame."""

import importlib
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from fixtures.planting import SHARED
from harness.findings.finding import FINDINGS
from harness.matrix.case import Case
from harness.matrix.modes import MODES
from harness.verdict.damage import Damage, with_damage
from harness.verdict.judge import judge
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


class HidesModule(InTree):
    """Sets an entry of sys.modules to None in each call."""

    def build(self, case: Case, device: torch.device) -> Callable[..., Any]:
        layer = super().build(case, device)

        def forward(*inputs: Any) -> Any:
            sys.modules["inspect"] = None  # type: ignore[assignment]
            importlib.import_module("inspect")  # as torch does here and there
            return layer(*inputs)

        return forward


class OpensNothing(InTree):
    """Leaves the process no file to open."""

    def build(self, case: Case, device: torch.device) -> Callable[..., Any]:
        def forward(*inputs: Any) -> Any:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            return open(os.devnull)

        return forward


class ToMeta(InTree):
    """Leaves another default device."""

    def build(self, case: Case, device: torch.device) -> Callable[..., Any]:
        layer = super().build(case, device)

        def forward(*inputs: Any) -> Any:
            torch.set_default_device("meta")
            return layer(*inputs)

        return forward

    def inputs(self, case: Case, tokens: int, seed: int, device: torch.device) -> tuple[torch.Tensor, ...]:
        return tuple(
            torch.zeros_like(t) + torch.ones(1).to(device).to(t.dtype) * t
            for t in super().inputs(case, tokens, seed, device)
        )


@pytest.mark.parametrize(
    ("subject", "what"),
    [
        (ToMeta, r"default device was changed from cpu to meta, and a call then raised out of meta tensor"),
        (HidesModule, r"sys.modules\['inspect'\] was set to None, and a call then raised import of inspect halted"),
        (
            OpensNothing,
            r"limit of open files was lowered from [0-9,]+ to 0, and a call then raised Too many open files",
        ),
    ],
)
def test_what_was_taken_is_the_finding(subject: Any, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect", sys.modules["inspect"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        verdict = judge(subject(), SHARED, MODES["eager"], torch.device("cpu"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        torch.set_default_device(None)
    assert verdict.status == FINDINGS
    assert verdict.findings[0].kind == "global-state"
    assert re.search(what, verdict.findings[0].what)
    assert "no-fake" not in str(verdict)
    assert "the machine" not in str(verdict)


def test_an_error_of_another_kind_stays() -> None:
    lowered = Damage("the limit was lowered", "RecursionError", "nothing runs", "that call")
    assert with_damage("error", "ValueError: no", (), [lowered]) == ("error", "ValueError: no", ())
    assert with_damage("error", "RecursionError: deep", (), []) == ("error", "RecursionError: deep", ())
