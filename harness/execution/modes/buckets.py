"""CUDA graphs by token bucket, as engines keep them: a graph for each size, the largest first, all in one memory pool.

A batch takes the next larger graph, and the rows that are left are padding. Between replays a batch larger than any
graph runs eager, as a prefill does, and what the layer makes anew then must not be what the graphs read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from harness.execution.evidence import Call, Run
from harness.execution.modes.cudagraph import CAPTURE, REPLAY, WARM_UP, Captured, capture, replay
from harness.execution.modes.eager import more
from harness.execution.rig import Rig

# Engines capture the multiples of eight.
_STEP = 8


def run(rig: Rig, dynamic: bool) -> Run:
    """Two graphs, each replayed on a batch that does not fill it; a larger batch; and the smaller graph once more."""
    with _rows_apart():
        return _run(rig)


def _run(rig: Rig) -> Run:
    run = rig.start(emulated=rig.device.type != "cuda")
    assert run.layer is not None
    few, many = rig.case.tokens, more(rig.case.tokens)
    sizes = _bucket(many), _bucket(few)
    # At the largest size, as engines do: what grows with the batch is as large as any graph needs before the first is made.
    if not rig.call(run, run.layer, "warm-up", sizes[0], WARM_UP, rig.recorder()).error:
        graphs = _captured(rig, run, sizes)
        if len(graphs) == len(sizes):
            large, small = graphs
            for call in _calls(rig, run, small, large, few, many):
                if call.error:
                    break
    return rig.finish(run)


@contextmanager
def _rows_apart() -> Iterator[None]:
    """Without oneDNN where its bf16 product lets a row's NaN into the row before: on CPUs with AMX (oneDNN#5717)."""
    # Not mkldnn.flags, which sets precision and determinism too.
    onednn: Any = torch.backends.mkldnn
    kept = onednn.enabled
    onednn.enabled = kept and not _joins_rows()
    try:
        yield
    finally:
        onednn.enabled = kept


@cache
def _joins_rows() -> bool:
    """Whether a product multiplies what lies behind the end of a row by zero: of finite values nothing is seen."""
    rows = torch.ones(32, 48, dtype=torch.bfloat16)
    rows[16:] = torch.nan
    product = torch.nn.functional.linear(rows, rows.new_ones(80, 48))
    return bool(product[:16].isnan().any())


def _bucket(tokens: int) -> int:
    """The smallest captured size that a batch does not fill."""
    return (tokens // _STEP + 1) * _STEP


def _captured(rig: Rig, run: Run, sizes: tuple[int, ...]) -> list[Captured]:
    """A graph for each size, fewer where one was refused. All read the first rows of the same buffers."""
    static = rig.inputs(sizes[0], CAPTURE)
    pool = None if run.emulated else torch.cuda.graph_pool_handle()
    graphs: list[Captured] = []
    for size in sizes:
        graph = capture(run, tuple(tensor[:size] for tensor in static), pool)
        if graph is None:
            break
        graphs.append(graph)
    return graphs


def _calls(rig: Rig, run: Run, small: Captured, large: Captured, few: int, many: int) -> Iterator[Call]:
    assert run.layer is not None
    yield replay(rig, run, small, few, REPLAY, _label(small))
    yield replay(rig, run, large, many, REPLAY, _label(large))
    yield rig.call(run, run.layer, "larger batch", 2 * large.size, REPLAY, with_oracle=False)
    yield replay(rig, run, small, few, WARM_UP, f"{_label(small)} after a larger batch")


def _label(graph: Captured) -> str:
    return f"replay of the graph for {graph.size} tokens"
