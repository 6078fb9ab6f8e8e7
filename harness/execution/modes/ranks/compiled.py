"""Compiled, on real ranks: torch.compile with Inductor and fullgraph. Functional collectives are nodes of the graph."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from harness.execution.compilable import compilable
from harness.execution.evidence import Call, Graph, Run
from harness.execution.modes.compiled import ready_compiler, recompile_reason, recording_inductor
from harness.execution.modes.ranks.calls import blind_call
from harness.execution.pinned import cache_folder, trust_instruction_set
from harness.execution.ranks.collective_log import Note, collectives_of, note_collective
from harness.execution.ranks.collectives import summing_by
from harness.execution.rig import Rig


def run(rig: Rig, dynamic: bool) -> Run:
    """Two calls of one compiled layer with different inputs."""
    with summing_by(rig.case.collective, rig.device):
        run = rig.start()
        graphs: list[Graph] = []
        notes: list[Note] = []
        run.graphs = graphs
        trust_instruction_set(cache_folder())
        ready_compiler()
        torch._dynamo.reset()
        backend = _noting(recording_inductor(graphs), notes)
        compiled = torch.compile(compilable(run.layer), fullgraph=True, dynamic=False, backend=backend)
        for seed, label in enumerate(("first call", "second call")):
            if _call(rig, run, compiled, label, seed, notes).error:
                break
        run.recompiled_for = recompile_reason() if len(graphs) > 1 else ""
        return rig.finish(run)


def _call(rig: Rig, run: Run, compiled: Callable[..., Any], label: str, seed: int, notes: list[Note]) -> Call:
    call: Call = blind_call(rig, label, lambda: rig.call(run, compiled, label, rig.case.tokens, seed), tuple(notes))
    return call


def _noting(backend: Callable[..., Any], notes: list[Note]) -> Callable[..., Any]:
    """A backend that notes a graph's collectives once it is compiled: what comes next is its first run."""

    def compile_graph(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
        given = collectives_of(module)
        compiled = backend(module, inputs)
        notes.extend(note_collective(op, tensor) for op, tensor in given)
        return compiled

    return compile_graph
