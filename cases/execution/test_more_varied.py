"""Varied beyond single calls: Python's own state, what a failed op leaves, memory that cannot be filled, guards of weights."""

import copy
import gc
import os
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.correct.first_calls import RowsOfWorkspace
from fixtures.correct.habits import CORRECT
from fixtures.faults.edges import Patched
from fixtures.faults.first_calls import RowsOfWeight
from fixtures.faults.surroundings import HalfDone
from fixtures.planting import SHARED, SMALL, Planted
from harness.execution.evidence import Graph
from harness.execution.memory.fresh_memory import call_filled, filled_where_possible
from harness.execution.memory.written_memory import written_memory
from harness.execution.modes.compiled import recording_inductor
from harness.execution.modes.varied import surroundings
from harness.execution.modes.varied.beside import others
from harness.execution.pinned import pinned
from harness.execution.rig import Rig
from harness.execution.state.torch_state import first_functions
from harness.findings.finding import FINDINGS, OK, Verdict
from harness.matrix.modes import MODES
from harness.matrix.variations import GROUPS, growth_counts
from harness.verdict.judge import judge
from kernels.layer.layer import PaddedMoELayer

CPU = torch.device("cpu")
FLOAT4 = torch.float4_e2m1fn_x2


def judged(layer: type[PaddedMoELayer], *vary: str) -> Verdict:
    mode = MODES[GROUPS[vary[0].partition("=")[0]].mode]
    return judge(Planted(layer=layer), SMALL, replace(mode, vary=vary), CPU)


class SetsVariable(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        os.environ["PLANTED_PADDED"] = str(self.padded)
        return super().pad(x)


class StopsCollector(PaddedMoELayer):
    def pad(self, x: Tensor) -> Tensor:
        gc.disable()
        return super().pad(x)


def test_a_variable_that_an_earlier_verdict_set_is_found_when_it_is_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_PADDED", "128")
    (finding,) = judged(SetsVariable, "process=calls").findings
    assert finding.what == "calling the layer changed the environment variable PLANTED_PADDED"
    assert os.environ["PLANTED_PADDED"] == "128"
    assert judged(PaddedMoELayer, "process=calls", "process=build").status == OK


def test_a_function_that_the_first_verdict_of_a_process_exchanged_is_found_by_a_later_one() -> None:
    first_functions.cache_clear()  # as in a new process
    judge(Planted(layer=Patched), SMALL, MODES["eager"], CPU)
    (finding,) = judged(Patched, "process=build").findings
    assert "torch.nn.functional.softplus" in finding.what


def test_the_weights_of_a_layer_that_is_gone_begin_where_no_allocator_lets_one_begin() -> None:
    dense = torch.zeros(3, 4, dtype=torch.bfloat16)
    moved = others._elsewhere(dense)
    assert (moved.shape, moved.dtype, moved.is_contiguous()) == (dense.shape, dense.dtype, True)
    assert moved.data_ptr() == moved.untyped_storage().data_ptr() + others._OFFSET
    with torch.no_grad(), pinned():  # fresh memory of this type cannot be filled
        strided = torch.zeros(4, 3, dtype=torch.uint8).view(FLOAT4).mT
        assert others._elsewhere(strided) is strided


def test_what_a_layer_leaves_in_python_is_put_back_after_each_verdict() -> None:
    assert judge(Planted(layer=StopsCollector), SMALL, MODES["eager"], CPU).status == OK
    assert gc.isenabled()
    assert "garbage collector" in judged(StopsCollector, "process=calls").findings[0].what


def test_an_op_that_raises_shows_what_it_leaves_without_wrong_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_wrong_inputs", lambda varied: ())  # as on a GPU
    assert judged(HalfDone, "before=errors").status == FINDINGS
    monkeypatch.setattr(surroundings, "_Fails", lambda ops: torch.no_grad())
    assert judged(HalfDone, "before=errors").status == OK


def test_memory_that_torch_cannot_fill_is_left_unfilled_for_a_whole_capture() -> None:
    with pinned():
        codes = torch.zeros(4, dtype=torch.uint8).view(FLOAT4)
        with pytest.raises(NotImplementedError):
            codes.clone()
        with filled_where_possible([codes]):
            codes.clone()
        with filled_where_possible([torch.zeros(2)]):
            assert torch.empty(64).isnan().all()
            with pytest.raises(NotImplementedError):
                codes.clone()


def test_memory_that_torch_cannot_fill_is_left_unfilled_for_inductor_in_one_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch._inductor import compile_fx

    def as_on_cuda(*arguments: Any) -> Any:
        torch.empty((), dtype=FLOAT4)  # to know the size of an element
        return compile_module(*arguments)

    compile_module, graphs = compile_fx.compile_fx, list[Graph]()
    monkeypatch.setattr(compile_fx, "compile_fx", as_on_cuda)
    with pinned():
        compiled = torch.compile(lambda x: x + 1, backend=recording_inductor(graphs), fullgraph=True)
        assert torch.equal(compiled(torch.ones(3)), torch.full((3,), 2.0))
        with pytest.raises(ZeroDivisionError):
            call_filled(lambda: 1 / 0)
    assert len(graphs) == 1


def test_inductor_refuses_the_mask_that_a_capture_takes() -> None:
    from torch._inductor.utils import is_cudagraph_unsafe_fx_node as is_refused
    from torch.fx.experimental.proxy_tensor import make_fx

    def masked(x: Tensor, mask: Tensor) -> Tensor:
        return torch.ops.aten.index_put(x, [mask], torch.zeros(()))  # type: ignore[no-any-return]

    graph = make_fx(masked, tracing_mode="fake")(torch.ones(3), torch.tensor([True, False, True]))
    assert any(is_refused(node) for node in graph.graph.nodes if node.op == "call_function")
    (entry,) = [entry for entry in CORRECT if entry.id == "right#captured-ops"]
    assert "cudagraph-compiled" not in entry.modes


def test_only_memory_that_calls_write_excuses_a_limit_of_tokens() -> None:
    dynamic = MODES["fake-dynamic"]
    (finding,) = judge(Planted(layer=RowsOfWeight), SHARED, dynamic, CPU).findings
    assert finding.what.startswith("the trace holds only where tokens <=")
    assert judge(Planted(layer=RowsOfWorkspace), SMALL, dynamic, CPU).status == OK
    with pinned():
        assert [tuple(t.shape) for t in written_memory(Rig(Planted(layer=RowsOfWorkspace), SMALL, CPU))] == [(64, 128)]
        assert not written_memory(Rig(Planted(layer=RowsOfWeight), SHARED, CPU))


def test_the_original_of_a_deepcopy_is_called_too() -> None:
    class Shares(PaddedMoELayer):
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            return copy.copy(self)

    (finding,) = judged(Shares, "weights=deepcopy").findings
    assert "after other weights were loaded into its deepcopy" in finding.what


def test_a_deepcopy_that_computes_with_the_original_is_called_that() -> None:
    class Watches(PaddedMoELayer):
        """Its shared expert's weights are read by way of a weak reference."""

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            self.layer = weakref.ref(self)

        def shared_output(self, hidden_states: Tensor) -> Tensor | None:
            return PaddedMoELayer.shared_output(self.layer(), hidden_states)  # type: ignore[arg-type]

    (finding,) = judge(
        Planted(layer=Watches), SHARED, replace(MODES["varied-layers"], vary=("weights=deepcopy",)), CPU
    ).findings
    assert finding.cause.startswith("The copy computes with the layer that it was made from")


def test_the_name_of_a_growth_holds_its_counts() -> None:
    assert growth_counts("growth=7-60-7-130-7") == (7, 60, 7, 130, 7)
    assert growth_counts("growth=0-7") == (0, 7)
