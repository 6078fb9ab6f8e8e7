"""torch's check of a graph's inputs as a tool of the self-test: by a stub of the capture, since there is no GPU."""

import inspect
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from fixtures.planting import SMALL, fault
from harness.execution.rig import Rig
from harness.execution.stages import SCALING
from harness.selftest import liveness as module
from harness.selftest.liveness import DEAD, liveness, unavailable
from harness.selftest.score import Scored, tool_counts, tools_run
from harness.selftest.show import notes, totals
from harness.selftest.tool_names import LIVENESS, TOOL_NAMES, TOOLS
from harness.selftest.tool_result import ToolResult
from harness.selftest.trials import Answer, Trial
from kernels.layer.layer import PaddedMoELayer
from kernels.layer.subject import InTree


class StubGraph:
    """A graph whose replay raises what it is told to."""

    error: Exception | None = None
    resets = 0

    def replay(self) -> None:
        if self.error:
            raise self.error

    def reset(self) -> None:
        StubGraph.resets += 1


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A layer that is right, and torch's capture replaced by a call."""
    monkeypatch.setattr(module, "unavailable", lambda device: "")
    for name, stub in (("CUDAGraph", StubGraph), ("Stream", Mock), ("current_stream", Mock), ("synchronize", Mock)):
        monkeypatch.setattr(torch.cuda, name, stub)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, check_input_liveness: nullcontext())
    monkeypatch.setattr(StubGraph, "resets", 0)
    return Rig(InTree(), SMALL, torch.device("cpu"), "eager")


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (None, ToolResult(False)),
        (
            RuntimeError(f"{DEAD} 1 dead tensor(s).\nDead tensor #1"),
            ToolResult(True, f"RuntimeError: {DEAD} 1 dead tensor(s)."),
        ),
        (RuntimeError("no memory"), ToolResult(False, not_run="the capture raised RuntimeError: no memory")),
    ],
    ids=["alive", "dead", "another error"],
)
def test_only_the_check_s_own_error_is_its_result(
    error: Exception | None, wanted: ToolResult, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StubGraph, "error", error)
    assert liveness(rig) == wanted
    assert StubGraph.resets == 1


def test_a_torch_without_the_check_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        def __init__(self, cuda_graph: Any, pool: Any = None) -> None: ...

    assert unavailable(torch.device("cpu")) == "it needs a CUDA device"
    monkeypatch.setattr(torch.cuda, "graph", Older)
    assert "has no torch.cuda.graph(check_input_liveness=True)" in unavailable(torch.device("cuda"))


def test_a_torch_that_has_the_check_raises_the_error_that_is_looked_for() -> None:
    _cuda_debug = pytest.importorskip("torch.utils._cuda_debug", reason="torch before 2.13")
    assert unavailable(torch.device("cuda")) == ""
    assert DEAD in inspect.getsource(_cuda_debug._CUDAGraphInputLivenessTracker.check_alive)


def test_a_tool_that_was_not_run_counts_for_nothing_and_the_reason_is_told() -> None:
    ran = {name: asdict(ToolResult(True)) for name in TOOL_NAMES}
    not_run = ran | {LIVENESS: asdict(ToolResult(False, not_run="it needs a CUDA device"))}
    one, other = (_scored(tools) for tools in (ran, not_run))
    assert tools_run([other]) == [name for name in TOOL_NAMES if name != LIVENESS]
    assert LIVENESS not in tool_counts([other])
    assert tool_counts([one, other])[LIVENESS] == 1
    assert "input liveness was not run for 1 of 2 faults: it needs a CUDA device" in notes([one, other])
    assert LIVENESS in totals([one])
    assert LIVENESS not in totals([other])


def _scored(tools: dict[str, Any]) -> Scored:
    entry = fault(
        "mine#seen",
        "doubled",
        PaddedMoELayer,
        trigger="always",
        cases=(SMALL,),
        modes=("eager",),
        seen={("values", SCALING)},
    )
    return Scored(entry, [Answer(Trial("mine#seen", 0, TOOLS), tools=tools)])
