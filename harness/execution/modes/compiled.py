"""Compiled: torch.compile with Inductor, fullgraph, asserts on; the token count static or dynamic."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from harness.execution.evidence import Graph, Record, Run
from harness.execution.modes import fake
from harness.execution.pinned import cache_folder, inductor, trust_instruction_set
from harness.execution.rig import Rig

# Added to the first token count, it gives one of other parity and magnitude: a guard on either then fails.
_MORE_TOKENS = 9


def run(rig: Rig, dynamic: bool) -> Run:
    """Two calls of one compiled layer with different inputs; where the token count is dynamic, with different counts."""
    run = rig.start()
    graphs: list[Graph] = []
    run.graphs = graphs
    tokens = max(rig.case.tokens, 2) if dynamic else rig.case.tokens
    trust_instruction_set(cache_folder())
    skip_guard_profiling()
    torch._dynamo.reset()
    compiled = torch.compile(
        run.layer, fullgraph=True, dynamic=None if dynamic else False, backend=recording_inductor(graphs)
    )
    call = rig.call(run, _marked(compiled, dynamic), "first call", tokens, 0)
    if not call.error:
        other = tokens + _MORE_TOKENS if tokens + _MORE_TOKENS <= rig.most_tokens else max(tokens - 1, 2)
        label, second = ("other token count", other) if dynamic else ("second call", tokens)
        call = rig.call(run, _marked(compiled, dynamic), label, second, 1)
    if call.error:
        call.records = stages(rig, dynamic, tokens)
        rig.audit(run)
    return rig.finish(run)


def stages(rig: Rig, dynamic: bool, tokens: int) -> list[Record]:
    """Records of a FakeTensor trace, for a compiled call that failed: compiled code dispatches no ops to record."""
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv() if dynamic else None)
    return fake.trace(rig, rig.start(), mode, "trace", tokens).records


def recording_inductor(graphs: list[Graph]) -> Callable[[torch.fx.GraphModule, Sequence[Any]], Any]:
    """Inductor as a backend that first adds the graph's ops to ``graphs``. Each call of it is one compilation."""

    def backend(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
        graphs.append(Graph(tuple(_names(module))))
        return inductor(module, inputs)

    return backend


def _names(module: torch.fx.GraphModule) -> list[str]:
    targets = [node.target for node in module.graph.nodes if node.op == "call_function"]
    schemas = [getattr(getattr(target, "default", target), "_schema", None) for target in targets]
    return [str(schema.name) for schema in schemas if schema is not None]


def _marked(function: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
    def call(*inputs: Tensor) -> Any:
        if dynamic:
            for tensor in filter(torch.is_tensor, inputs):
                torch._dynamo.mark_dynamic(tensor, 0)
        return function(*inputs)

    return call


def skip_guard_profiling() -> None:
    """Skip the timing of guards. Dynamo flushes the CPU's caches for it, only to log a line: 20 ms of a 90 ms compile."""
    guards: Any = torch._dynamo.guards
    if hasattr(guards, "profile_guard_manager"):
        guards.profile_guard_manager = lambda *_: 0.0
