"""torch.compile's own CUDA graphs, ``mode="reduce-overhead"``. Inductor leaves them out with a log line; here that is a finding."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from harness.base.errors import Skip
from harness.execution.capture import NotCaptured
from harness.execution.evidence import Call, Graph, Run
from harness.execution.modes.compiled import inductor_noting, skip_guard_profiling, stages
from harness.execution.pinned import inductor_with
from harness.execution.rig import Rig

# What the mode sets, and what makes it all or nothing: an error where it is skipped, and no part of the layer left out.
SETTINGS = {"triton.cudagraphs": True, "triton.cudagraph_or_error": True, "graph_partition": False}
# Inductor runs a layer once, records it at the second call, and replays from the third on. With the seeds of the inputs.
_CALLS = (
    ("warm-up", 0),
    ("recording", 2),
    ("replay with other inputs", 1),
    ("replay with the warm-up's inputs", 0),
)


def run(rig: Rig, dynamic: bool) -> Run:
    """Four calls of the compiled layer. Raises Skip without CUDA."""
    if rig.device.type != "cuda":
        raise Skip("torch.compile's own CUDA graphs need a CUDA device, and no emulation stands in for them")
    return recorded(rig)


def recorded(rig: Rig) -> Run:
    """The calls, counted: a replay that replays no graph, or that records anew, is a call that failed."""
    run = rig.start()
    graphs: list[Graph] = []
    run.graphs = graphs
    skip_guard_profiling()
    with inductor_with(SETTINGS) as run.settings, _fresh_trees(), _counting() as counts:
        compiled = torch.compile(run.layer, fullgraph=True, dynamic=False, backend=inductor_noting(graphs))
        for label, seed in _CALLS:
            counts.clear()
            torch.compiler.cudagraph_mark_step_begin()
            call = rig.call(run, _kept(compiled), label, rig.case.tokens, seed)
            call.replayed = "replay" in label
            call.error = call.error or _unlike_a_replay(call, counts)
            if call.error:
                break
    if call.error and not isinstance(call.error, NotCaptured):
        call.records = stages(rig, False, rig.case.tokens)
        rig.audit(run)
    return rig.finish(run)


def _unlike_a_replay(call: Call, counts: Counter[str]) -> NotCaptured | None:
    if call.replayed and not counts["replay"]:
        return NotCaptured("the third call and on run no CUDA graph; TORCH_LOGS=cudagraphs may tell why")
    if call.replayed and counts["capture_begin"]:
        return NotCaptured("a graph was recorded anew: an address that it reads is not the one of the call before")
    return None


def _kept(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """The next replay writes into the same output, so a copy with the same strides is what is looked at."""

    def call(*inputs: Tensor) -> Any:
        output = compiled(*inputs)
        if not isinstance(output, Tensor):
            return output
        kept = torch.empty_strided(output.shape, output.stride(), dtype=output.dtype, device=output.device)
        return kept.copy_(output)

    return call


@contextmanager
def _counting() -> Iterator[Counter[str]]:
    """How often any CUDA graph was captured and replayed: torch's own count of skips misses some."""
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
    """No graph, pool or compiled code of another case, before and after."""
    _forget()
    try:
        yield
    finally:
        _forget()


def _forget() -> None:
    from torch._inductor.cudagraph_trees import reset_cudagraph_trees

    torch._dynamo.reset()
    reset_cudagraph_trees()
