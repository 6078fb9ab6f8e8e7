"""Compiled code in other surroundings: after eager calls, for one token and for none, under inference mode, after a reload.

Dynamo traces the layer and the backend runs the graph as it is, which costs a tenth of Inductor: what is looked for is
decided in the trace. Inductor's own code is for the modes ``compiled`` and ``compiled-dynamic``.
"""

import contextlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.base.halving import last_and_next
from harness.execution.compilable import compilable
from harness.execution.evidence import Call, LeftBehind, Run, Varied
from harness.execution.modes.compiled import ready_compiler, traced_run
from harness.execution.modes.varied.beside.weights import FIRST, first_answer, load, other_weights
from harness.execution.modes.varied.checks import FEW, answer, batch_of, check, few, run_few, whole
from harness.execution.modes.varied.forms import call_in_form, sliced
from harness.execution.modes.varied.layers import if_alone
from harness.execution.modes.varied.many_tokens import look_at_row
from harness.execution.modes.varied.varied_run import Variation, VariedRun, raising, rows_of
from harness.execution.rig import LAYER_ERRORS, Rig

_CALLS, _LAYERS = 6, 4
_MANY = 201
# More than 4,096, to which engines limit a batch or size a buffer for compiled code.
_MORE = 4100
# What is varied together with a number of tokens, since each trace costs a tenth of a second.
_TOGETHER = {"compiled=256-tokens": "compiled=inference-mode", "compiled=201-tokens": "compiled=slice"}
# Fewer and more tokens than an eager call before had.
_OTHER_SIZES = (5, 12)
# Of other parity and magnitude: a branch divides them into ranges, and only where a trace fixes the number has each its own graph.
_EACH, _RANGES = (FEW, 5, 12, 64), 2


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of compiled layers, where a plain compiled call works at all: the mode ``compiled`` reports one that does not."""
    ready_compiler()
    torch._dynamo.reset()
    compiled = _Compiled()
    groups = {"graphs-of": compiled.graphs_of, "compiled": compiled.compiled}
    return run_few(rig, {name: compiled.if_it_works(variation) for name, variation in groups.items()}, _MANY)


class _Compiled:
    """Compiled layers of one class, and the number of graphs that Dynamo made. Few graphs, since each costs a trace."""

    def __init__(self) -> None:
        self.graphs = 0
        self._layer: Any = None
        self._function: Any = None
        self._together: dict[str, Call | None] = {}  # by the other variation's name: the call of both, if it was wrong

    def if_it_works(self, variation: Variation) -> Variation:
        """The variation, where a layer that was never called can be compiled and is right then."""

        def run_it(varied: VariedRun, what: Varied) -> None:
            if self._function is None:
                self._layer = varied.fresh()
                self._function = self.of(self._layer)
                call = answer(varied, self._function)
                call.expected = batch_of(varied, 0)[1]
                by_owner = isinstance(self._layer, torch._dynamo.OptimizedModule)  # its graphs are the owner's choice
                self._works = call.error is None and not varied.is_wrong(call) and not by_owner
            if self._works:
                variation(varied, what)

        return run_it

    def of(self, layer: Any, dynamic: bool = False) -> Any:
        """The layer, compiled."""
        ready_compiler()
        return torch.compile(compilable(layer), fullgraph=True, dynamic=dynamic, backend=self._backend)

    def _backend(self, module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
        self.graphs += 1
        return module.forward

    def graphs_of(self, varied: VariedRun, variation: Varied) -> None:
        """How many graphs more calls of the first layer make, or calls of other layers of its class."""
        before, one = self.graphs, variation.name == "graphs-of=calls"
        layers = [self._layer if one else varied.fresh() for _ in range((_CALLS if one else _LAYERS) - 1)]
        if not one and not all(_same_code(self._layer, layer) for layer in layers):
            return  # another function has a graph of its own
        functions = [self._function if one else self.of(layer) for layer in layers]
        for place, function in enumerate(functions, 1):
            with contextlib.suppress(*LAYER_ERRORS):
                function(*_inputs(varied, place))
        if self.graphs > before:
            of = f"{_CALLS} calls of one layer" if one else f"one call of each of {_LAYERS} layers of one class"
            count = 1 + self.graphs - before
            what = f"{count} graphs were compiled for {of}, all with {FEW} tokens; expected 1"
            varied.run.left_behind.append(LeftBehind(variation, what))

    def compiled(self, varied: VariedRun, variation: Varied) -> None:
        """One of the calls of compiled layers."""
        ways: dict[str, Variation] = {
            "reloaded": if_alone(self._reloaded),
            "after-eager": self._after_eager,
            "1-token": self._of_tokens,
            "0-tokens": self._of_tokens,
            "256-tokens": self._of_many,
            "201-tokens": self._of_many,
            "before-eager": self._before_eager,
            "4100-tokens": self._of_more,
            "slice": self._alone(self._of_slices),
            "inference-mode": self._alone(self._under_inference_mode),
        }
        ways[variation.name.partition("=")[2]](varied, variation)

    def _reloaded(self, varied: VariedRun, variation: Varied) -> None:
        wanted = first_answer(varied, state := other_weights(varied.layer))
        layer = varied.fresh()
        function = self.of(layer)
        answer(varied, function)
        if wanted is not None and load(layer, state):
            check(varied, variation, function, expected=whole(wanted), reference=FIRST)

    def _after_eager(self, varied: VariedRun, variation: Varied) -> None:
        """Calls of other sizes than the eager one, with a dynamic number of tokens: what eager code left shows in them.

        More graphs than a layer has that never ran in eager are a finding too, and an error only where that layer has none.
        """
        before = len(varied.run.calls)
        graphs = self._of_sizes(varied, variation, eager=True)
        calls = varied.run.calls[before:]
        failed = any(call.error or varied.is_wrong(call) for call in calls)
        if graphs == 1 and not failed:
            return
        others = self._of_sizes(varied, variation, eager=False)
        without = varied.run.calls[before + len(calls) :]
        del varied.run.calls[before + len(calls) :]
        if failed and any(call.error or varied.is_wrong(call) for call in without):
            del varied.run.calls[before:]
        elif not failed and others > 1 and varied.rig.most_tokens < _MORE:
            self._note_fixed(varied, variation)  # else the call with so many tokens shows it
        elif not failed and graphs > others:
            sizes = ", ".join(map(str, _OTHER_SIZES))
            made = f"{graphs} graphs were compiled for batches of {sizes} tokens"
            what = f"{made} after an eager one of {FEW}, and {others} without it"
            varied.run.left_behind.append(LeftBehind(variation, what, recompiled=True))

    def _of_sizes(self, varied: VariedRun, variation: Varied, eager: bool) -> int:
        """Compiled calls of one layer with a dynamic number of tokens, until one is wrong. The number of graphs."""
        torch._dynamo.reset()
        layer, before = varied.fresh(), self.graphs
        if eager:
            answer(varied, layer, 1)
        function = self.of(layer, dynamic=True)
        for tokens in _OTHER_SIZES:
            inputs, expected = varied.batch(min(tokens, varied.most))
            label = f"a batch of {inputs[0].shape[0]} tokens after an eager one of {few(varied.rig)}"
            if not check(varied, variation, function, inputs=inputs, expected=expected, label=label):
                break
        return self.graphs - before

    def _of_more(self, varied: VariedRun, variation: Varied) -> None:
        """Many more tokens than a graph with a dynamic number of them was traced with. Not judged where eager code is wrong."""
        if varied.rig.most_tokens < _MORE:
            return
        torch._dynamo.reset()
        few_rows, right = varied.batch()
        rows = torch.arange(_MORE, device=few_rows[0].device) % len(few_rows[0])
        inputs, expected = tuple(t if t is None else t[rows] for t in few_rows), rows_of(right, rows)
        function, before, graphs = self.of(varied.fresh(), dynamic=True), len(varied.run.calls), self.graphs
        with contextlib.suppress(*LAYER_ERRORS):
            function(*batch_of(varied, 0)[0])
        if not check(varied, variation, function, inputs=inputs, expected=expected) and not check(
            varied, variation, varied.fresh(), inputs=inputs, expected=expected
        ):
            del varied.run.calls[before:]  # ``varied-tokens`` reports it
        del varied.run.calls[before + 1 :]
        if self.graphs > graphs + 1:
            self._note_fixed(varied, variation)

    def _note_fixed(self, varied: VariedRun, variation: Varied) -> None:
        """Note where each number of tokens has a graph of its own, though the layer was compiled for any: its trace fixes it."""
        torch._dynamo.reset()
        function, before = self.of(varied.fresh(), dynamic=True), self.graphs
        counts = [count for count in _EACH if count <= varied.most]
        for count in (*counts, counts[0]):  # the first one again has its graph, unless each call makes one
            with contextlib.suppress(*LAYER_ERRORS):
                function(*varied.batch(count)[0])
        if len(counts) > _RANGES and self.graphs - before == len(counts):
            of = f"batches of {', '.join(map(str, counts))} tokens by code for any number of them; expected 1"
            what = f"{len(counts)} graphs were compiled for {of}"
            calls = replace(variation, words="calls compiled for any number of tokens")
            varied.run.left_behind.append(_with_fake(varied, LeftBehind(calls, what, recompiled=True, fixed=True)))

    def _of_tokens(self, varied: VariedRun, variation: Varied) -> None:
        torch._dynamo.reset()
        tokens = int(variation.name.partition("=")[2].partition("-")[0])
        if tokens > varied.rig.most_tokens:
            return
        inputs = varied.rig.inputs(tokens, 0)
        expected = varied.rig.oracle(inputs) if tokens else whole(inputs[0])
        eager = Call("", inputs[0].shape[0], inputs, expected=expected)
        if not varied.rig.make(eager, varied.fresh()):
            assert eager.error is not None
            varied.leave_out(variation, raising(eager.error))  # an eager mode reports what is no refusal
            return
        if not check(varied, variation, self.of(varied.fresh()), inputs=inputs, expected=expected):
            call = varied.run.calls[-1]
            call.eager_too = varied.is_wrong(eager)
            if call.eager_too:
                look_at_row(varied, call)
            if not call.by_row:
                call.limit = self._limit(varied, tokens) if tokens > FEW else ""

    def _of_many(self, varied: VariedRun, variation: Varied) -> None:
        """Many tokens, and something else with them. Where that is wrong, one comes after the other."""
        if varied.rig.vary or not self._is_right_together(varied, variation):
            self._of_tokens(varied, variation)

    def _is_right_together(self, varied: VariedRun, variation: Varied) -> bool:
        torch._dynamo.reset()
        tokens, other = int(variation.name.partition("=")[2].partition("-")[0]), _TOGETHER[variation.name]
        if tokens > varied.rig.most_tokens:
            return False
        inputs, sliced_too = varied.rig.inputs(tokens, 0), other == "compiled=slice"
        expected, around = varied.rig.oracle(inputs), nullcontext if sliced_too else torch.inference_mode
        given = tuple(t if t is None or not sliced_too else sliced(t) for t in inputs)
        how = "inputs that are columns of wider buffers" if sliced_too else "under inference mode"
        label = f"{variation.words}, {'of' if sliced_too else 'and'} {how}"
        right = check(
            varied, variation, self.of(varied.fresh()), inputs=given, expected=expected, label=label, around=around
        )
        self._together[other] = None if right else varied.run.calls.pop()
        return right

    def _alone(self, variation: Variation) -> Variation:
        """A variation that was tried together with a number of tokens: nothing where that was right.

        Where each is right alone, it is both that matter.
        """

        def run_it(varied: VariedRun, what: Varied) -> None:
            both = self._together.get(what.name)
            if what.name in self._together and both is None:
                return
            variation(varied, what)
            mine = [call for call in varied.run.calls if call.varied and call.varied.name in (what.name, *_TOGETHER)]
            if both and not both.error and not any(call.error or varied.is_wrong(call) for call in mine):
                varied.run.calls.append(both)

        return run_it

    def _limit(self, varied: VariedRun, wrong: int) -> str:
        """Two counts that follow each other, of which compiled code is right for the first alone."""

        def holds(tokens: int) -> bool:
            torch._dynamo.reset()
            inputs = varied.rig.inputs(tokens, 0)
            call = Call("", tokens, inputs)
            is_made = varied.rig.make(call, self.of(varied.fresh()))
            call.expected = varied.rig.oracle(inputs)
            return is_made and not varied.is_wrong(call)

        right, wrong = last_and_next(holds, few(varied.rig), wrong)
        return f"right compiled for {right} tokens, wrong for {wrong}"

    def _of_slices(self, varied: VariedRun, variation: Varied) -> None:
        torch._dynamo.reset()
        call_in_form(varied, variation, sliced, self.of)

    def _before_eager(self, varied: VariedRun, variation: Varied) -> None:
        """Eager calls of the layer that was compiled first: what its trace left shows in them."""
        check(varied, variation, self._layer, 1)

    def _under_inference_mode(self, varied: VariedRun, variation: Varied) -> None:
        torch._dynamo.reset()
        check(varied, variation, self.of(varied.fresh()), around=torch.inference_mode)


def _with_fake(varied: VariedRun, left: LeftBehind) -> LeftBehind:
    """The same with the op whose fake fixes the number of tokens in a trace, and the line; as it is where none does."""
    traced = traced_run(varied.rig, True, few(varied.rig))
    record = next((one for one in traced.calls[0].records if one.op == traced.specialised_by), None)
    return replace(left, line=traced.specialised_at, op=record.op, stage=record.stage) if record else left


def _same_code(one: Any, other: Any) -> bool:
    """Whether the two are modules that run one function: a module of torch.fx, or a class made in ``build``, has its own."""
    codes = [getattr(getattr(layer, "forward", None), "__code__", None) for layer in (one, other)]
    return isinstance(one, nn.Module) and (codes[0] is None or codes[0] is codes[1])


def _inputs(varied: VariedRun, place: int) -> tuple[Tensor, ...]:
    """Inputs with every optional one as in the first batch, since an absent one makes another graph by right."""
    first, inputs = batch_of(varied, 0)[0], batch_of(varied, place)[0]
    return inputs if [t is None for t in first] == [t is None for t in inputs] else first
