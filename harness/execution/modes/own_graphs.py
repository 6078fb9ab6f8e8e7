"""torch.compile's own CUDA graphs, ``mode="reduce-overhead"``.

Where Inductor cannot make a graph it skips it with a log line, and the layer is only slow. Here that is a finding.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from harness.base.errors import Skip
from harness.execution.capture import NotCaptured, RecordedAgain
from harness.execution.compilable import compilable
from harness.execution.evidence import Call, Graph, Run
from harness.execution.memory.fresh_memory import filled_where_possible
from harness.execution.memory.reachable import reachable_tensors
from harness.execution.modes.compiled import ready_compiler, recording_inductor, stages
from harness.execution.pinned import inductor_with
from harness.execution.rig import Rig

# What "reduce-overhead" sets, an error where a graph is skipped, and one graph for the whole layer.
SETTINGS = {"triton.cudagraphs": True, "triton.cudagraph_or_error": True, "graph_partition": False}
# (label, seed of the inputs). Inductor only runs the first call, records the second, and replays from the third on.
_CALLS = (
    ("warm-up", 0),
    ("recording", 2),
    ("replay with other inputs", 1),
    ("replay with the warm-up's inputs", 0),
)


def run(rig: Rig, dynamic: bool) -> Run:
    """Four calls of the compiled layer. Raises Skip without CUDA."""
    if rig.device.type != "cuda":
        raise Skip("torch.compile's own CUDA graphs need a CUDA device; there is no emulation of them")
    return recorded(rig)


def recorded(rig: Rig) -> Run:
    """The four calls. A replay that replays no graph, or that records a graph again, counts as failed."""
    run = rig.start()
    graphs: list[Graph] = []
    run.graphs = graphs
    ready_compiler()
    filled = filled_where_possible(reachable_tensors(run.layer))
    with filled, inductor_with(SETTINGS) as run.settings, _fresh_trees(), _counting() as counts:
        compiled = torch.compile(
            compilable(run.layer), fullgraph=True, dynamic=False, backend=recording_inductor(graphs)
        )
        for label, seed in _CALLS:
            counts.clear()
            torch.compiler.cudagraph_mark_step_begin()
            call = rig.call(run, _copying(compiled), label, rig.case.tokens, seed)
            call.replayed = "replay" in label
            call.error = call.error or _not_a_replay(call, counts)
            if call.error:
                break
    if call.error and not isinstance(call.error, NotCaptured):
        call.records = stages(rig, False, rig.case.tokens)
        rig.audit(run)
    return rig.finish(run)


def _not_a_replay(call: Call, counts: Counter[str]) -> NotCaptured | None:
    if call.replayed and not counts["replay"]:
        return NotCaptured("this call should replay a CUDA graph and ran none; TORCH_LOGS=cudagraphs may say why")
    if call.replayed and counts["capture_begin"]:
        return RecordedAgain("a graph was recorded again instead of replayed; TORCH_LOGS=cudagraphs may say why")
    return None


def _copying(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Return a copy of the output with the same strides, since the next replay overwrites the output itself."""

    def call(*inputs: Tensor) -> Any:
        output = compiled(*inputs)
        if not isinstance(output, Tensor):
            return output
        copy = torch.empty_strided(output.shape, output.stride(), dtype=output.dtype, device=output.device)
        return copy.copy_(output)

    return call


@contextmanager
def _counting() -> Iterator[Counter[str]]:
    """Count the captures and replays of CUDA graphs. torch's own counter of skipped graphs misses some."""
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        for name in ("capture_begin", "replay"):
            counted = _counted(getattr(torch.cuda.CUDAGraph, name), name, counts)
            stack.enter_context(mock.patch.object(torch.cuda.CUDAGraph, name, counted))
        yield counts


def _counted(method: Callable[..., Any], name: str, counts: Counter[str]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        counts[name] += 1
        return method(*args, **kwargs)

    return counted


@contextmanager
def _fresh_trees() -> Iterator[None]:
    """Drop the graphs, pools and compiled code of other cases, before and after."""
    _reset()
    try:
        yield
    finally:
        _reset()


def _reset() -> None:
    from torch._inductor.cudagraph_trees import reset_cudagraph_trees

    torch._dynamo.reset()
    reset_cudagraph_trees()
