"""Graphs beside other calls: captured from the smallest to the largest, of a size that never ran, and before a load."""

import contextlib

from torch import Tensor

from harness.execution.evidence import Call, Run, Varied
from harness.execution.memory.containers import entries_of
from harness.execution.memory.external_memory import FreedMemory
from harness.execution.modes.cudagraph import Captured, capture, replay
from harness.execution.modes.varied.beside.weights import FIRST, first_answer, load, other_weights
from harness.execution.modes.varied.checks import answer, batch_of, check, whole
from harness.execution.modes.varied.varied_run import VariedRun
from harness.execution.rig import LAYER_ERRORS

# A graph for each, and the batch sizes that run in eager between their replays.
_SMALLEST_FIRST, _BETWEEN = (8, 24), range(1, 24)
# A container with an entry more for so many sizes holds something for each. As many sizes as a bounded one may have room for.
_HOLDS_EACH, _MANY_SIZES = 16, range(24, 140)
# A number of tokens that no other variation calls, of whatever mode: tables for a size may be the process's.
_COLD = 83


def graphs(varied: VariedRun, variation: Varied) -> None:
    """Graphs, and eager calls or a load before their replays."""
    ways = {"graphs=not-warmed-up": _cold, "graphs=reloaded": _reloaded}
    ways.get(variation.name, _smallest_first)(varied, variation)


def _cold(varied: VariedRun, variation: Varied) -> None:
    """A capture of a size that never ran, and an eager call of that size before the first replay.

    What the capture made has no contents then. A call that is wrong after the replay too is left to ``varied-tokens``.
    """
    rig, size = varied.rig, min(_COLD, varied.most)
    run = rig.start(emulated=rig.device.type != "cuda")
    assert run.layer is not None
    with contextlib.suppress(*LAYER_ERRORS):
        run.layer(*batch_of(varied, 0)[0])  # what does not depend on the size is made here
    graph = capture(run, rig.inputs(size, 0))
    if graph is None:
        return
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
    made: list[Captured] = []
    assert run.layer is not None
    for size in _SMALLEST_FIRST:
        if size <= rig.most_tokens:
            with contextlib.suppress(*LAYER_ERRORS):
                run.layer(*rig.inputs(size, 2))  # engines run each size before they capture it
            graph = capture(run, tuple(t if t is None else t[:size] for t in static), None, made)
            made += [graph] if graph else []
            if run.calls or (graph and not _replays(varied, run, graph)):
                return  # the graphs' own modes report it
    emptied = _call_sizes(varied, run)
    for graph in made:
        call = replay(rig, run, graph, graph.size - 1, 1, f"replay of the graph for {graph.size} tokens")
        call.varied = variation
        if isinstance(call.error, FreedMemory):
            call.error.cache = emptied
        varied.run.calls.append(call)


def _call_sizes(varied: VariedRun, run: Run) -> str:
    """Call the layer on many batch sizes, and on more where a container holds something for each. The container that lost some."""
    before = entries_of(run.layer, varied.rig.ops)
    for tokens in _BETWEEN:
        _call_of(varied, run, tokens)
    entries = entries_of(run.layer, varied.rig.ops)
    growing = {name: count for name, count in entries.items() if count - before.get(name, 0) >= _HOLDS_EACH}
    for tokens in _MANY_SIZES if growing else ():
        _call_of(varied, run, tokens)
        entries = entries_of(run.layer, varied.rig.ops)
        if lost := next((name for name, count in growing.items() if entries.get(name, 0) < count), ""):
            return f"{lost} of {growing[lost]} entries"
        growing = {name: entries[name] for name in growing}
    return ""


def _call_of(varied: VariedRun, run: Run, tokens: int) -> None:
    assert run.layer is not None
    if tokens <= varied.rig.most_tokens:
        with contextlib.suppress(*LAYER_ERRORS):
            run.layer(*(varied.batch(tokens)[0] if tokens <= varied.most else varied.rig.inputs(tokens, 0)))


def _replays(varied: VariedRun, run: Run, graph: Captured) -> bool:
    """Whether a replay right after the capture is right."""
    call = replay(varied.rig, run, graph, graph.size - 1, 1, "")
    run.calls.clear()
    return call.error is None and not varied.is_wrong(call)


def _reloaded(varied: VariedRun, variation: Varied) -> None:
    """A graph, replayed after other weights were loaded into its layer; only where it is right before, and eager calls after."""
    rig, state = varied.rig, other_weights(varied.layer)
    wanted = first_answer(varied, state)
    run = rig.start(emulated=rig.device.type != "cuda")
    if wanted is None or run.layer is None:
        return
    inputs, expected = batch_of(varied, 0)
    answer(varied, run.layer, 1)
    graph = capture(run, tuple(t if t is None else t.clone() for t in inputs))
    if graph is None or not _is(varied, _replay_of(graph, inputs, variation), expected) or not load(run.layer, state):
        return
    call = _replay_of(graph, inputs, variation)
    eager = answer(varied, run.layer)
    if _is(varied, eager, whole(wanted)):
        call.expected, call.reference = whole(wanted), FIRST
        varied.run.emulated = run.emulated
        varied.run.calls.append(call)


def _is(varied: VariedRun, call: Call, expected: object) -> bool:
    """Whether a call returned this."""
    call.expected, call.difference = expected, None  # type: ignore[assignment]
    return call.error is None and not varied.is_wrong(call)


def _replay_of(graph: Captured, inputs: tuple[Tensor, ...], variation: Varied) -> Call:
    """A replay on these inputs, as many rows as it was captured for."""
    graph.fill(inputs)
    call = Call(variation.words, graph.size, graph.inputs, before=inputs, replayed=True, varied=variation)
    call.began_as_nan = graph.is_nan
    try:
        graph.replay()
        call.output, call.snapshot = graph.output, graph.output.clone()
    except LAYER_ERRORS as error:
        call.error = error
    return call
