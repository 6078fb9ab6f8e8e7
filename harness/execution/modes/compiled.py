"""Compiled: torch.compile with Inductor, fullgraph, asserts on; the token count static or dynamic."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.base.printable import bounded
from harness.execution.compilable import compilable
from harness.execution.evidence import Graph, Record, Run
from harness.execution.graph_guards import allowed_tokens, is_split
from harness.execution.modes import fake
from harness.execution.modes.guards import LinedEnv
from harness.execution.pinned import cache_folder, inductor, pin_compiler, trust_instruction_set
from harness.execution.rig import EAGER_AUDIT, LAYER_ERRORS, Rig
from harness.execution.second_look import look_at_plain

# Added to the first token count, it gives one of other parity and magnitude: a guard on either then fails.
_MORE_TOKENS = 9
_LONGEST_REASON = 300


def run(rig: Rig, dynamic: bool) -> Run:
    """Two calls of one compiled layer with different inputs; where the token count is dynamic, with different counts.

    Where torch alone fails for a dynamic count of so few tokens, the calls are made with more: a half of two tokens has one row.
    """
    config: Any = torch._dynamo.config
    # Each trace has symbols of its own: the cache of fake tensors finds nothing, and filling it is a tenth of a compile.
    with config.patch(fake_tensor_cache_enabled=False) if dynamic else nullcontext():
        tokens = max(rig.case.tokens, 2) if dynamic else rig.case.tokens
        run = _run(rig, dynamic, tokens)
        again = dynamic and (any(call.error for call in run.calls) or len(run.graphs or ()) > 1)
        return _run(rig, dynamic, min(fake.MORE, rig.most_tokens)) if again and fake.is_of_few(rig, tokens) else run


def _run(rig: Rig, dynamic: bool, tokens: int) -> Run:
    if (audited := _reads_beyond(rig)) is not None:
        return audited
    run = rig.start()
    graphs: list[Graph] = []
    run.graphs = graphs
    trust_instruction_set(cache_folder())
    ready_compiler()
    torch._dynamo.reset()
    compiled = torch.compile(
        compilable(run.layer), fullgraph=True, dynamic=None if dynamic else False, backend=recording_inductor(graphs)
    )
    call = rig.call(run, _marked(compiled, dynamic), "first call", tokens, 0)
    if not call.error:
        other = tokens + _MORE_TOKENS if tokens + _MORE_TOKENS <= rig.most_tokens else max(tokens - 1, 2)
        label, second = ("other token count", other) if dynamic else ("second call", tokens)
        call = rig.call(run, _marked(compiled, dynamic), label, second, 1)
    run.recompiled_for = recompile_reason() if len(graphs) > 1 else ""
    run.split_by_backend = len(graphs) == 2 and is_split(run.recompiled_for) and graphs[0].allows(call.tokens)
    if call.error:
        traced = traced_run(rig, dynamic, tokens)
        call.records = traced.calls[0].records
        run.specialised_at, run.specialised_by = traced.specialised_at, traced.specialised_by
        rig.audit(run)
    rig.finish(run)
    if not rig.case.full:  # a second layer of true size may not fit beside the first
        look_at_plain(rig, run)  # eager code may be as wrong, and there it shows where
    return run


def _reads_beyond(rig: Rig) -> Run | None:
    """A run of an eager call alone, where the fake of an op has larger elements than the op gives; None elsewhere.

    Inductor's code checks an output's shape and strides and takes its dtype from the fake. Of larger elements it reads and
    writes beyond the memory, which may end the process.
    """
    if rig.case.full:  # a second layer of true size may not fit beside the first
        return None
    run = rig.start()
    with suppress(*LAYER_ERRORS):
        layer: Any = run.layer
        rig.call(run, layer, EAGER_AUDIT, rig.case.tokens, 0, rig.recorder(contract=True), with_oracle=False)
    run.uncompiled = any(record.fake and is_larger(record) for call in run.calls for record in call.records)
    return rig.finish(run) if run.uncompiled else None


def is_larger(record: Record) -> bool:
    """Whether the fake of a recorded op has an output of larger elements."""
    faked = (record.fake.outputs or ()) if record.fake else ()
    pairs = [(real, fake) for real, fake in zip(record.outputs, faked, strict=False) if real and fake]
    return any(fake.itemsize > real.itemsize for real, fake in pairs)


def stages(rig: Rig, dynamic: bool, tokens: int) -> list[Record]:
    """Records of a FakeTensor trace, for a compiled call that failed: compiled code dispatches no ops to record."""
    return traced_run(rig, dynamic, tokens).calls[0].records


def traced_run(rig: Rig, dynamic: bool, tokens: int) -> Run:
    """A run of one FakeTensor trace. Where the number of tokens is dynamic, it says in which line an op's fake fixes that."""
    run = rig.start()
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=LinedEnv() if dynamic else None)
    fake.trace(rig, run, mode, "trace", tokens)
    return run


def recompile_reason() -> str:
    """Dynamo's reason for the latest compilation: the guard of an earlier one that failed; empty if it gives none."""
    metrics: Any = torch._dynamo.utils.get_compilation_metrics()
    reasons = [getattr(one, "recompile_reason", None) for one in metrics]
    reason = next((str(one) for one in reversed(reasons) if one), "")
    lines = [line.partition(": ")[2] for line in reason.splitlines() if ": " in line]
    return bounded(lines[0].partition("  # ")[0].strip(), _LONGEST_REASON) if lines else ""


def recording_inductor(graphs: list[Graph]) -> Callable[[torch.fx.GraphModule, Sequence[Any]], Any]:
    """Inductor as a backend that first adds the graph's ops to ``graphs``. Each call of it is one compilation."""

    def backend(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
        graphs.append(Graph(tuple(_names(module)), allowed_tokens(inputs)))
        return inductor(module, inputs)

    return backend


def _names(module: torch.fx.GraphModule) -> list[str]:
    """The names of the ops of a graph and of those inside it, such as the branches of a ``torch.cond``.

    Dynamo keeps torch's own functions and methods as they are, so these go by their name.
    """
    graphs = [inner.graph for inner in module.modules() if isinstance(inner, torch.fx.GraphModule)]
    nodes = [node for graph in graphs for node in graph.nodes if node.op in ("call_function", "call_method")]
    return [name for name in (_name(node.target) for node in nodes) if name]


def _name(target: Any) -> str:
    schema = getattr(getattr(target, "default", target), "_schema", None)
    if schema is not None:
        return str(schema.name)
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return f"aten::{name}" if hasattr(torch.ops.aten, name) else ""


def _marked(function: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
    def call(*inputs: Tensor) -> Any:
        if dynamic:
            for tensor in filter(torch.is_tensor, inputs):
                torch._dynamo.mark_dynamic(tensor, 0)
        return function(*inputs)

    return call


def ready_compiler() -> None:
    """Skip the timing of guards, and undo what the build of a layer did to the compiler's pinned settings.

    Dynamo flushes the CPU's caches for the timing, only to log a line: 20 ms of a 90 ms compile.
    """
    pin_compiler()
    guards: Any = torch._dynamo.guards
    if hasattr(guards, "profile_guard_manager"):
        guards.profile_guard_manager = lambda *_: 0.0
