"""What a layer keeps from call to call: inputs by address or identity, outputs, counts of calls, tables, and graphs' memory."""

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.execution.evidence import Run, Varied
from harness.execution.memory.reachable import caches_of
from harness.execution.modes.cudagraph import Captured, capture, replay
from harness.execution.modes.varied.checks import (
    MANY_CALLS,
    answer,
    batch_of,
    check,
    if_steady,
    note,
    place_of,
    run_few,
)
from harness.execution.modes.varied.overwritten import overwritten_by
from harness.execution.modes.varied.varied_run import VariedRun, rows_of
from harness.execution.rig import LAYER_ERRORS, Rig

_REMADE = 12
# A graph for each, and the batch sizes that run in eager between their replays.
_SMALLEST_FIRST, _BETWEEN = (8, 24), range(1, 24)
# A number of tokens that no other variation of this mode calls.
_COLD = 29


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls whose inputs, outputs or order show what a layer keeps."""
    groups = {
        "inputs": if_steady(_inputs),
        "written": if_steady(_written),
        "calls": _calls,
        "traced": if_steady(_traced),
        "graphs": if_steady(_graphs),
    }
    return run_few(rig, groups)


def _inputs(varied: VariedRun, variation: Varied) -> None:
    """The same tensors with other contents, or new tensors where the memory of earlier ones was freed."""
    layer = varied.fresh()
    if variation.name == "inputs=reordered":
        return _reordered(varied, variation, layer)
    if variation.name == "inputs=made-again":
        batches = [batch_of(varied, place) for place in range(_REMADE)]
        for batch, expected in batches:
            made = tuple(tensor if tensor is None else tensor.clone() for tensor in batch)
            if not check(varied, variation, layer, inputs=made, expected=expected):
                return
            del made
            call = varied.run.calls[-1]
            call.inputs, call.before = (), ()  # the next ones take their place in memory
            varied.alive.clear()
        return None
    inputs, _ = batch_of(varied, 0)
    layer(*inputs)
    for place in (1, 2):
        fresh, expected = batch_of(varied, place)
        for tensor, value in zip(inputs, fresh, strict=True):
            if tensor is not None:
                tensor.copy_(value)
        check(varied, variation, layer, inputs=inputs, expected=expected)
        _copy_inputs(varied)
    _refill_parts(varied, variation, layer, inputs)
    return None


def _reordered(varied: VariedRun, variation: Varied, layer: Any) -> None:
    """The same rows, the last one first: a sum of their contents is the same."""
    inputs, expected = batch_of(varied, 0)
    layer(*inputs)
    rows = [-1, *range(inputs[0].shape[0] - 1)]
    moved = tuple(tensor if tensor is None else tensor[rows] for tensor in inputs)
    check(varied, variation, layer, inputs=moved, expected=rows_of(expected, rows))


def _refill_parts(varied: VariedRun, variation: Varied, layer: Any, inputs: tuple[Tensor, ...]) -> None:
    """Other contents in one part alone: what is cached by a sample of the contents, or by one of the inputs, shows here."""
    other, _ = batch_of(varied, 3)
    inputs[0][-1].copy_(other[0][-1])
    last, _ = batch_of(varied, 4)
    parts: list[tuple[str, slice, tuple[Tensor, ...]]] = [
        ("the last row of hidden_states", slice(0), other),
        ("all inputs but hidden_states", slice(1, None), other),
        ("the last input", slice(len(inputs) - 1, None), last),  # as the weights of the same routing
    ]
    for part, places, values in parts[: len(inputs)]:
        for tensor, value in zip(inputs[places], values[places], strict=True):
            if tensor is not None and value is not None:
                tensor.copy_(value)
        label = f"{part} refilled in place"
        check(varied, variation, layer, inputs=inputs, expected=varied.rig.oracle(inputs), label=label)
        _copy_inputs(varied)


def _copy_inputs(varied: VariedRun) -> None:
    """Give the last call inputs of its own: what they hold later is not the layer's doing."""
    call = varied.run.calls[-1]
    call.inputs = tuple(t if t is None else t.clone() for t in call.inputs)


def _written(varied: VariedRun, variation: Varied) -> None:
    """A caller writes to the output that it was given, as a residual is added in place."""
    layer = varied.fresh()
    output = answer(varied, layer).output
    if isinstance(output, Tensor):
        (_same_inputs if variation.name == "written=output" else _as_input)(varied, variation, layer, output)


def _same_inputs(varied: VariedRun, variation: Varied, layer: Any, output: Tensor) -> None:
    """Then the same inputs come once more."""
    with torch.inference_mode():  # an output that was made under inference mode can be written only here
        output.fill_(7.0)
    check(varied, variation, layer)


def _as_input(varied: VariedRun, variation: Varied, layer: Any, output: Tensor) -> None:
    """Then the output is the next hidden_states, as where one layer is called in turn."""
    (hidden, *others), expected = batch_of(varied, 1)
    if output.shape == hidden.shape and output.dtype == hidden.dtype:
        with torch.inference_mode():
            output.copy_(hidden)
        check(varied, variation, layer, inputs=(output, *others), expected=expected)
        varied.run.calls[-1].inputs = varied.run.calls[-1].before


def _calls(varied: VariedRun, variation: Varied) -> None:
    """Many calls, with all outputs saved. Each is right, and stays so."""
    layer, made = varied.fresh(), []
    for number in range(MANY_CALLS):
        if not check(varied, variation, layer, place_of(number), label=f"call {number + 1} of {MANY_CALLS}"):
            return
        made.append(varied.run.calls.pop())
    if by := overwritten_by(varied, made):
        note(varied, variation, *by)
    else:
        varied.run.calls.append(made[-1])


def _traced(varied: VariedRun, variation: Varied) -> None:
    """A trace over fake tensors before the first real call, in a process whose caches are empty."""
    layer = varied.fresh()
    caches = caches_of(layer, varied.rig.ops)
    _clear(caches)
    with contextlib.suppress(*LAYER_ERRORS), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        layer(*(t if t is None else mode.from_tensor(t) for t in batch_of(varied, 1)[0]))
    try:
        if check(varied, variation, layer, label="a traced layer's first real call"):
            check(varied, variation, varied.fresh(), label="another layer's first call after a trace")
    finally:
        _clear(caches)


def _clear(caches: list[object]) -> None:
    for cache in caches:
        cache.cache_clear()  # type: ignore[attr-defined]


def _graphs(varied: VariedRun, variation: Varied) -> None:
    """Graphs, and eager calls before their replays."""
    (_cold if variation.name == "graphs=not-warmed-up" else _smallest_first)(varied, variation)


def _cold(varied: VariedRun, variation: Varied) -> None:
    """A capture of a size that never ran, and an eager call of that size before the first replay.

    What the capture made has no contents then. A call that is wrong after the replay too is left to ``varied-tokens``.
    """
    rig, size = varied.rig, min(_COLD, varied.most)
    run = rig.start(emulated=rig.device.type != "cuda")
    graph = capture(run, rig.inputs(size, 0))
    if graph is None:
        return
    assert run.layer is not None
    graph.empty()
    inputs, expected = varied.batch(size)
    if check(varied, variation, run.layer, inputs=inputs, expected=expected):
        return
    with contextlib.suppress(*LAYER_ERRORS):
        graph.replay()
    if not check(varied, variation, run.layer, inputs=inputs, expected=expected):
        varied.run.calls.pop(-2)
    varied.run.calls.pop()


def _smallest_first(varied: VariedRun, variation: Varied) -> None:
    """Graphs captured from the smallest batch to the largest, replayed after many other batch sizes."""
    rig, emulated = varied.rig, varied.rig.device.type != "cuda"
    run, varied.run.emulated = rig.start(emulated=emulated), emulated
    static = rig.inputs(max(_SMALLEST_FIRST), 0)
    graphs: list[Captured] = []
    assert run.layer is not None
    for size in _SMALLEST_FIRST:
        if size <= rig.most_tokens:
            with contextlib.suppress(*LAYER_ERRORS):
                run.layer(*rig.inputs(size, 2))  # engines run each size before they capture it
            graph = capture(run, tuple(t if t is None else t[:size] for t in static), None, graphs)
            graphs += [graph] if graph else []
            if run.calls or (graph and not _replays(varied, run, graph)):
                return  # the graphs' own modes report it
    for tokens in _BETWEEN:
        with contextlib.suppress(*LAYER_ERRORS):
            run.layer(*varied.batch(min(tokens, varied.most))[0])
    for graph in graphs:
        call = replay(rig, run, graph, graph.size - 1, 1, f"replay of the graph for {graph.size} tokens")
        call.varied = variation
        varied.run.calls.append(call)


def _replays(varied: VariedRun, run: Run, graph: Captured) -> bool:
    """Whether a replay right after the capture is right."""
    call = replay(varied.rig, run, graph, graph.size - 1, 1, "")
    run.calls.clear()
    return call.error is None and not varied.is_wrong(call)
