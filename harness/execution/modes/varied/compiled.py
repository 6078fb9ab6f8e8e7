"""Compiled code in other surroundings: after eager calls, for one token and for none, under inference mode, after a reload.

Dynamo traces the layer and the backend runs the graph as it is, which costs a tenth of Inductor: what is looked for is
decided in the trace. Inductor's own code is for the modes ``compiled`` and ``compiled-dynamic``.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.execution.evidence import Call, LeftBehind, Run, Varied
from harness.execution.modes.compiled import skip_guard_profiling
from harness.execution.modes.varied.checks import FEW, answer, batch_of, check, whole
from harness.execution.modes.varied.layers import FIRST, first_answer, load, other_weights
from harness.execution.modes.varied.varied_run import VariedRun, run_varied
from harness.execution.rig import LAYER_ERRORS, Rig

_CALLS, _LAYERS = 6, 4


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of compiled layers, where a plain compiled call works at all: the mode ``compiled`` reports one that does not."""
    skip_guard_profiling()
    torch._dynamo.reset()
    works = [False]

    def only_if_it_works(variation: Callable[["_Compiled", Varied], None]) -> Callable[[VariedRun, Varied], None]:
        def run_it(varied: VariedRun, what: Varied) -> None:
            compiled = _Compiled(varied)
            works[0] = works[0] or compiled.works()
            if works[0]:
                variation(compiled, what)

        return run_it

    groups = {"compiled": only_if_it_works(_compiled), "graphs-of": only_if_it_works(_graphs)}
    return run_varied(rig, groups)


class _Compiled:
    """Compiled layers of one class, and the number of graphs that Dynamo made."""

    def __init__(self, varied: VariedRun) -> None:
        self.varied, self.graphs = varied, 0

    def backend(self, module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
        """Count the graph, and run it as it is."""
        self.graphs += 1
        return module.forward

    def of(self, layer: Any) -> Any:
        """The layer, compiled."""
        return torch.compile(layer, fullgraph=True, dynamic=False, backend=self.backend)

    def works(self) -> bool:
        """Whether a layer that was never called can be compiled, and is right then."""
        call = answer(self.varied, self.of(self.varied.fresh()))
        call.expected = batch_of(self.varied, 0)[1]
        return call.error is None and not self.varied.is_wrong(call)


def _compiled(compiled: _Compiled, variation: Varied) -> None:
    _WAYS[variation.name.partition("=")[2]](compiled, variation)


def _after_eager(compiled: _Compiled, variation: Varied) -> None:
    layer = compiled.varied.fresh()
    answer(compiled.varied, layer, 1)
    check(compiled.varied, variation, compiled.of(layer))


def _of_tokens(tokens: int) -> Callable[[_Compiled, Varied], None]:
    def call(compiled: _Compiled, variation: Varied) -> None:
        varied = compiled.varied
        if answer_raises(varied, tokens):  # eager reports it
            return
        inputs, expected = varied.batch(tokens)
        check(varied, variation, compiled.of(varied.fresh()), inputs=inputs, expected=expected)

    return call


def answer_raises(varied: VariedRun, tokens: int) -> bool:
    """Whether the layer raises for so many tokens without a compiler."""
    call = Call("", tokens, varied.batch(tokens)[0])
    return not varied.rig.make(call, varied.fresh())


def _inference(compiled: _Compiled, variation: Varied) -> None:
    check(compiled.varied, variation, compiled.of(compiled.varied.fresh()), around=torch.inference_mode)


def _reloaded(compiled: _Compiled, variation: Varied) -> None:
    varied = compiled.varied
    layer, state = varied.fresh(), other_weights(varied.layer)
    wanted = first_answer(varied, state)
    if wanted is None:
        return
    function = compiled.of(layer)
    answer(varied, function, 1)
    if load(layer, state):
        check(varied, variation, function, expected=whole(wanted), reference=FIRST)


_WAYS: dict[str, Callable[[_Compiled, Varied], None]] = {
    "after-eager": _after_eager,
    "1-token": _of_tokens(1),
    "0-tokens": _of_tokens(0),
    "inference-mode": _inference,
    "reloaded": _reloaded,
}


def _graphs(compiled: _Compiled, variation: Varied) -> None:
    """How many graphs some calls of one layer make, or one call of each of some layers."""
    varied, one = compiled.varied, variation.name == "graphs-of=calls"
    torch._dynamo.reset()
    compiled.graphs = 0
    layers = [varied.fresh()] * _CALLS if one else [varied.fresh() for _ in range(_LAYERS)]
    functions = [compiled.of(layers[0])] * _CALLS if one else [compiled.of(layer) for layer in layers]
    if not isinstance(layers[0], nn.Module) and not one:
        return  # another function has a graph of its own
    for place, function in enumerate(functions):
        with contextlib.suppress(*LAYER_ERRORS):
            function(*_inputs(varied, place))
    if compiled.graphs > 1:
        of = f"{_CALLS} calls of one layer" if one else f"one call of each of {_LAYERS} layers of one class"
        what = f"{compiled.graphs} graphs were compiled for {of}, all with {FEW} tokens; expected 1"
        varied.run.left_behind.append(LeftBehind(variation, what))


def _inputs(varied: VariedRun, place: int) -> tuple[Tensor, ...]:
    """Inputs with every optional one as in the first batch, since an absent one makes another graph by right."""
    first, inputs = batch_of(varied, 0)[0], batch_of(varied, place)[0]
    return inputs if [t is None for t in first] == [t is None for t in inputs] else first
