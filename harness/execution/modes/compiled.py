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

# A second token count of other parity and magnitude than the first: a guard on either fails.
_MORE_TOKENS = 9


def run(rig: Rig, dynamic: bool) -> Run:
    """Two calls of one compiled layer: other inputs, and with dynamic tokens another token count."""
    run = rig.start()
    graphs: list[Graph] = []
    run.graphs = graphs
    tokens = max(rig.case.tokens, 2) if dynamic else rig.case.tokens
    trust_instruction_set(cache_folder())
    skip_guard_profiling()
    torch._dynamo.reset()
    compiled = torch.compile(
        run.layer, fullgraph=True, dynamic=None if dynamic else False, backend=inductor_noting(graphs)
    )
    call = rig.call(run, _marked(compiled, dynamic), "first call", tokens, 0)
    if not call.error:
        label, more = ("other token count", tokens + _MORE_TOKENS) if dynamic else ("second call", tokens)
        call = rig.call(run, _marked(compiled, dynamic), label, more, 1)
    if call.error:
        call.records = stages(rig, dynamic, tokens)
        rig.audit(run)
    return rig.finish(run)


def stages(rig: Rig, dynamic: bool, tokens: int) -> list[Record]:
    """A compiled call dispatches no op that can be recorded; where one failed, a FakeTensor trace tells the stages."""
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv() if dynamic else None)
    return fake.trace(rig, rig.start(), mode, "trace", tokens).records


def inductor_noting(graphs: list[Graph]) -> Callable[[torch.fx.GraphModule, Sequence[Any]], Any]:
    """Inductor as a backend that first notes which ops are in the graph; each call of it is one compilation."""

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
            for tensor in inputs:
                torch._dynamo.mark_dynamic(tensor, 0)
        return function(*inputs)

    return call


def skip_guard_profiling() -> None:
    """Dynamo times each new set of guards after flushing the CPU's caches, for a log line: 20 ms of a 90 ms compile."""
    guards: Any = torch._dynamo.guards
    if hasattr(guards, "profile_guard_manager"):
        guards.profile_guard_manager = lambda *_: 0.0
