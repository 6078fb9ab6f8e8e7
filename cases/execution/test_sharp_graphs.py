"""A capture executes nothing; bounded caches are found; an optional input may be absent at a replay."""

from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fixtures.faults.captured import OfBias, WithBias
from fixtures.planting import SMALL, Planted
from harness.execution.capture import OpGraph
from harness.execution.memory.external_memory import ExternalMemory, FreedMemory
from harness.execution.memory.reachable import bounded_caches
from harness.execution.modes.cudagraph import Captured
from harness.findings.finding import OK
from harness.matrix.modes import MODES
from harness.subjects.checked import CheckedSubject, SubjectError
from harness.verdict.judge import judge


def test_what_a_capture_writes_outside_is_as_before_until_the_replay() -> None:
    total, x = torch.zeros(3), torch.ones(3)
    graph = OpGraph()
    out = graph.capture(lambda x: total.add_(x).clone(), (x,))
    assert torch.equal(total, torch.zeros(3))
    graph.replay()
    assert torch.equal(total, torch.ones(3))
    assert torch.equal(out, torch.ones(3))


def test_a_refused_capture_leaves_outside_memory_as_it_was() -> None:
    total = torch.zeros(3)
    with pytest.raises(RuntimeError):
        OpGraph().capture(lambda x: total.add_(x).sum().item(), (torch.ones(3),))
    assert torch.equal(total, torch.zeros(3))


def test_memory_of_another_capture_is_known_with_the_line_that_reads_it() -> None:
    made: list[Tensor] = []
    first, second = OpGraph(), OpGraph()

    def makes(x: Tensor) -> Tensor:
        made.append(torch.zeros(3))
        return x + 1

    first.capture(makes, (torch.ones(3),))
    second.capture(lambda x: x + made[0], (torch.ones(3),))
    ((memory, read, line),) = second.external.made_by(first.external)
    assert memory.data_ptr() == made[0].data_ptr()
    assert read.startswith("aten::add reads float32[3]")
    assert line is not None
    assert line.file.endswith("test_sharp_graphs.py")
    assert first.external.made_by(second.external) == []


def test_freed_memory_is_an_error_and_can_be_asked_for_without_one() -> None:
    table, x = [torch.zeros(3)], torch.ones(3)
    graph = OpGraph()
    graph.capture(lambda x: x + table[0], (x,))
    assert graph.external.freed() is None
    table.clear()
    assert isinstance(graph.external.freed(), FreedMemory)
    with pytest.raises(FreedMemory):
        graph.replay()


@lru_cache(maxsize=4)
def _of_module(key: int) -> int:
    return key


@cache
def _unbounded(key: int) -> int:
    return key


class _Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own: Any = lru_cache(maxsize=2)(lambda key: key)
        self.endless: Any = lru_cache(maxsize=None)(lambda key: key)


def test_bounded_caches_of_a_layer_and_its_module_are_found_and_unbounded_ones_are_not() -> None:
    layer = _Cached()
    assert {id(cache) for cache in bounded_caches(layer)} == {id(layer.own), id(_of_module)}


def test_an_input_may_be_absent_but_not_the_first() -> None:
    subject = OfBias(layer=WithBias)
    assert CheckedSubject(subject).inputs(SMALL, 7, 1, torch.device("cpu"))[3] is None

    class NoHidden(Planted):
        def inputs(self, *arguments: Any) -> Any:
            return (None, *super().inputs(*arguments)[1:])

    with pytest.raises(SubjectError, match=r"None .* at place 0"):
        CheckedSubject(NoHidden()).inputs(SMALL, 7, 1, torch.device("cpu"))


def test_a_buffer_keeps_its_values_where_the_batch_lacks_the_input() -> None:
    buffers = torch.zeros(4, 2), torch.full((4, 2), 3.0)
    graph = Captured(buffers, torch.zeros(4, 2), lambda: None, ExternalMemory("cpu"))
    batch: Any = torch.ones(3, 2), None
    graph.fill(batch)
    assert graph.absent(batch) == (1,)
    assert torch.equal(buffers[1], torch.full((4, 2), 3.0))
    assert torch.equal(buffers[0][:3], torch.ones(3, 2))


def test_the_finding_says_which_input_was_absent() -> None:
    verdict = judge(OfBias(layer=WithBias), SMALL, MODES["cudagraph"], torch.device("cpu"))
    (finding,) = verdict.findings
    assert finding.kind == "stale-replay"
    assert finding.cause.startswith("Input 3 is absent in this batch, and the graph was captured with it")


def test_a_replay_in_a_large_graph_has_the_inputs_of_its_capture() -> None:
    mode = replace(MODES["varied-tokens"], vary=("captured=72",))
    assert judge(OfBias(layer=WithBias), SMALL, mode, torch.device("cpu")).status == OK
