"""What a layer keeps from call to call: inputs by address or identity, outputs, counts of calls, and tables."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.execution.evidence import Call, Run, Varied
from harness.execution.memory.fresh_memory import copy_of
from harness.execution.memory.reachable import caches_of
from harness.execution.modes.varied.beside.graphs import graphs
from harness.execution.modes.varied.beside.overwritten import overwritten_by, save_alias
from harness.execution.modes.varied.checks import (
    MANY_CALLS,
    MANY_TOKENS,
    answer,
    batch_of,
    check,
    if_steady,
    note,
    place_of,
    run_few,
)
from harness.execution.modes.varied.varied_run import VariedRun, rows_of
from harness.execution.rig import LAYER_ERRORS, Rig

_REMADE, _ALIASES = 12, 8
# No multiple of a tile, in each of so many calls.
_SIZE, _CALLS_OF_SIZE = 97, 4


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls whose inputs, outputs or order show what a layer keeps."""
    groups = {
        "inputs": if_steady(_inputs),
        "written": if_steady(_written),
        "calls": _calls,
        "traced": if_steady(_traced),
        "graphs": if_steady(graphs),
    }
    return run_few(rig, groups, MANY_TOKENS)


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
    _refill_many(varied, variation)
    return None


def _refill_many(varied: VariedRun, variation: Varied) -> None:
    """A batch of many tokens, refilled in place. Contents that are wrong in other memory too are left to ``varied-tokens``."""
    batch, right = varied.batch(min(MANY_TOKENS, varied.most))
    tokens, layer = batch[0].shape[0], varied.fresh()
    half, label = tokens // 2, f"inputs of {tokens} tokens that are refilled in place"
    inputs = tuple(tensor if tensor is None else torch.empty_like(tensor) for tensor in batch)
    for start in (0, half) if half else ():
        rows = [start + row % half for row in range(tokens)]
        for tensor, value in zip(inputs, batch, strict=True):
            if tensor is not None and value is not None:
                tensor.copy_(value[rows])
        expected, before = rows_of(right, rows), len(varied.run.calls)
        is_right = check(varied, variation, layer, inputs=inputs, expected=expected, label=label)
        _copy_inputs(varied)
        if not is_right:
            elsewhere, first = tuple(map(copy_of, inputs)), varied.run.calls[before:]
            is_right = check(varied, variation, varied.fresh(), inputs=elsewhere, expected=expected)
            varied.run.calls[before:] = first if is_right else []
            return


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
    for part in _parts_of(varied, inputs, other):
        label = f"{part} refilled in place"
        check(varied, variation, layer, inputs=inputs, expected=varied.rig.oracle(inputs), label=label)
        _copy_inputs(varied)


def _parts_of(varied: VariedRun, inputs: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> Iterator[str]:
    """What was refilled, after each change of the inputs in place."""
    yield "the last row of hidden_states"
    hidden, rows = inputs[0], slice(1, -1)
    hidden[rows, 1:-1:2] = other[0][rows, 1:-1:2]
    yield "every second column between the first and the last row of hidden_states"
    hidden.copy_(hidden.flip(1))
    yield "the columns of hidden_states in the opposite order"
    hidden.neg_()
    yield "hidden_states with the opposite sign"
    last, _ = batch_of(varied, 4)
    parts = [("all inputs but hidden_states", slice(1, None), other), ("the last input", slice(-1, None), last)]
    for part, places, values in parts[: len(inputs) - 1]:
        for tensor, value in zip(inputs[places], values[places], strict=True):
            if tensor is not None and value is not None:
                tensor.copy_(value)
        yield part  # the last input may be the weights of the same routing


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
    """Many calls, with all outputs saved, or only an alias of each. Each is right, and stays so."""
    layer, made = varied.fresh(), list[Call]()
    if variation.name == "calls=97-tokens":
        return _calls_of_a_size(varied, variation, layer)
    count, then = (_ALIASES, save_alias) if variation.name == "calls=aliases" else (MANY_CALLS, lambda call: None)
    for number in range(count):
        if not check(varied, variation, layer, place_of(number), label=f"call {number + 1} of {count}"):
            varied.run.calls[-1].by_other_inputs = _is_right_for_one(varied, number)
            return None
        made.append(varied.run.calls.pop())
        then(made[-1])
    if by := overwritten_by(varied, made, then):
        note(varied, variation, *by)
    else:
        varied.run.calls.append(made[-1])
    return None


def _calls_of_a_size(varied: VariedRun, variation: Varied, layer: Any) -> None:
    """A few calls of more tokens: a size is tuned in the first ones, or counted. A first one that is wrong is not reported here."""
    inputs, expected = varied.batch(min(_SIZE, varied.most))
    for number in range(1, _CALLS_OF_SIZE + 1):
        label = f"call {number} of {_CALLS_OF_SIZE}"
        if not check(varied, variation, layer, inputs=inputs, expected=expected, label=label):
            if number == 1:
                varied.run.calls.pop()
            return


def _is_right_for_one(varied: VariedRun, number: int) -> bool:
    """Whether as many calls of another layer with the inputs of this one alone are right: then it is no count of calls."""
    layer, (_, expected) = varied.fresh(), batch_of(varied, place_of(number))
    calls = [answer(varied, layer, place_of(number)) for _ in range(number + 1)]
    calls[-1].expected = expected
    return calls[-1].error is None and not varied.is_wrong(calls[-1])


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
