"""CUDA graphs by token bucket, as engines use them: one graph for each batch size, the largest first, in one memory pool.

A batch runs in the next larger graph, and the rows beyond it are padding. Between the replays a batch larger than any graph
runs in eager, as a prefill does. If the layer replaces a buffer then that the graphs read, the next replay shows it.
"""

from collections.abc import Iterator

import torch

from harness.execution.evidence import Call, Run
from harness.execution.memory.reachable import bounded_caches
from harness.execution.modes.cudagraph import CAPTURE, REPLAY, WARM_UP, Captured, capture, replay
from harness.execution.modes.eager import larger_batch
from harness.execution.rig import Rig
from harness.execution.second_look import look_again, not_finite, without_onednn

# Engines capture the multiples of eight.
_STEP = 8


def run(rig: Rig, dynamic: bool) -> Run:
    """Replay two graphs, each on a batch that does not fill it; run a larger batch; replay the smaller graph again."""
    run = _run(rig)
    if not rig.case.full and not_finite(run) and torch.backends.mkldnn.enabled:
        with without_onednn():  # a NaN that is gone then is oneDNN's
            run = _run(rig)
    return look_again(rig, run)


def _run(rig: Rig) -> Run:
    run = rig.start(emulated=rig.device.type != "cuda")
    assert run.layer is not None
    few, many = rig.case.tokens, larger_batch(rig.case.tokens, rig.most_tokens)
    sizes = tuple(min(_bucket(tokens), rig.most_tokens) for tokens in (many, few))
    # At the largest size first, as engines do, so that buffers that grow with the batch have grown before the captures.
    if not rig.call(run, run.layer, "warm-up", sizes[0], WARM_UP, rig.recorder()).error:
        graphs = _captured(rig, run, sizes)
        if len(graphs) == len(sizes):
            large, small = graphs
            for call in _calls(rig, run, small, large, few, many):
                if call.error:
                    break
    return rig.finish(run)


def _bucket(tokens: int) -> int:
    """The smallest graph size that a batch does not fill completely."""
    return (tokens // _STEP + 1) * _STEP


def _captured(rig: Rig, run: Run, sizes: tuple[int, ...]) -> list[Captured]:
    """A graph for each size, fewer where a capture was refused. All graphs read the first rows of the same buffers."""
    static = rig.inputs(sizes[0], CAPTURE)
    pool = None if run.emulated else torch.cuda.graph_pool_handle()
    graphs: list[Captured] = []
    for size in sizes:
        graph = capture(run, tuple(tensor if tensor is None else tensor[:size] for tensor in static), pool, graphs)
        if graph is None:
            break
        graphs.append(graph)
    return graphs


def _calls(rig: Rig, run: Run, small: Captured, large: Captured, few: int, many: int) -> Iterator[Call]:
    assert run.layer is not None
    yield replay(rig, run, small, few, REPLAY, _label(small))
    yield replay(rig, run, large, many, REPLAY, _label(large))
    larger = min(2 * large.size, rig.most_tokens)
    yield rig.call(run, run.layer, "larger batch", larger, REPLAY, with_oracle=False)
    yield replay(rig, run, small, few, WARM_UP, f"{_label(small)} after a larger batch")
    _empty_caches(rig, run, (small, large))


def _empty_caches(rig: Rig, run: Run, graphs: tuple[Captured, ...]) -> None:
    """Empty each bounded cache whose keys follow the token count, as other batch sizes would do in the end.

    A call that raised is added to the run where that frees memory of a graph: a replay would read it.
    """
    for cache in bounded_caches(run.layer, run.ops):
        if cache.cache_parameters()["maxsize"] >= rig.most_tokens:
            continue  # it has room for every batch size
        before = cache.cache_info().misses
        rig.call(run, run.layer, "another batch size", graphs[0].size - 1, REPLAY, with_oracle=False)  # type: ignore[arg-type]
        if cache.cache_info().misses == before:
            continue
        cache.cache_clear()
        for graph in graphs:
            if error := graph.external.freed():
                size, name = cache.cache_parameters()["maxsize"], getattr(cache, "__name__", "cache")
                error.cache = f"the lru_cache {name} of {size}"
                label = f"{_label(graph)} after many other batch sizes"
                run.calls.append(Call(label, graph.size, graph.inputs, error=error, replayed=True))
                return


def _label(graph: Captured) -> str:
    return f"replay of the graph for {graph.size} tokens"
