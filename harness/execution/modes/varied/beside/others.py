"""Other layers of one class: before a layer is called, between its calls, sixteen of them, and one that was freed."""

import gc
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.base.errors import Skip
from harness.execution.evidence import Varied
from harness.execution.modes.varied.beside.weights import doubled, load, named_tensors, other_weights
from harness.execution.modes.varied.checks import (
    MANY_LAYERS,
    answer,
    calls_are_right,
    check,
    few,
    if_steady,
    is_first_right,
    layer_of,
    note,
)
from harness.execution.modes.varied.varied_run import VariedRun
from harness.execution.rig import BuildFailed, Rig
from harness.subjects.checked import SubjectError


def other_layers(varied: VariedRun, variation: Varied) -> None:
    """Two layers, or many."""
    # What is found by address is wrong by chance in any layer, so that plain calls say nothing of it.
    ways = {"other=16": _many, "other=freed": _freed}
    ways.get(variation.name, if_steady(two_layers))(varied, variation)


def two_layers(varied: VariedRun, variation: Varied) -> None:
    """Two layers at a size that no other layer in this process has, so that what is cached by size is new."""
    own, before = varied.rig.case.experts, len(varied.run.calls)
    if _of_experts(varied, variation, own + 2):
        del varied.run.calls[before:]
        _of_experts(varied, variation, _WHOLE_GROUPS * own)  # it may take its experts in groups alone


def _of_experts(varied: VariedRun, variation: Varied, experts: int) -> bool:
    """Two layers with so many experts. Whether the one that is judged raised.

    Before: no layer of this size was built, so that a table may hold what the other one gave it. Between: the other one is built
    after the first call, so that a table may hold what it gave it last.
    """
    rig = replace(varied.rig, case=replace(varied.rig.case, experts=experts))
    try:
        first = layer_of(rig)
    except (Skip, BuildFailed, SubjectError):
        return False
    return (_other_before if variation.name == "other=before" else _other_between)(varied, variation, rig, first)


def _other_before(varied: VariedRun, variation: Varied, rig: Rig, other: Any) -> bool:
    if not load(other, other_weights(other)):
        return False
    answer(varied, other, 1, rig)
    inputs = rig.inputs(few(rig), 0)
    check(varied, variation, layer_of(rig), inputs=inputs, expected=rig.oracle(inputs))
    return bool(varied.run.calls) and varied.run.calls[-1].error is not None


def _other_between(varied: VariedRun, variation: Varied, rig: Rig, one: Any) -> bool:
    before, other = answer(varied, one, 0, rig), layer_of(rig)
    if not load(other, other_weights(other)):
        return False
    answer(varied, other, 1, rig)
    after = answer(varied, one, 0, rig)
    if isinstance(before.output, Tensor) and before.snapshot is not None and after.snapshot is not None:
        note(varied, variation, "an output after a call of another layer", before.output, before.snapshot, _BEFORE)
        note(varied, variation, "a layer that is called after another one", after.snapshot, before.snapshot, _BEFORE)
    return before.error is not None


_BEFORE = "the same before that"
_OFFSET = 256  # bytes: CUDA's allocator hands out multiples of 512
_WHOLE_GROUPS = 5  # times the experts of the case: no other layer of a run has so many


def _freed(varied: VariedRun, variation: Varied) -> None:
    """A layer whose weights lie in the memory of one that was called and is gone, with the same count of writes.

    An allocator does that sooner or later. The other's weights are written past that count before its first call, as a loader
    does. One more layer lives all the time: what a layer takes with it when it is freed may be the other's too. The new
    layer then gets other weights: what it found in the freed one's place may be the living one's.
    """
    gone, before = varied.fresh(), varied.fresh()
    # The last one: a name by the number of layers that live would be its own and the next one's.
    living = varied.fresh()
    answer(varied, living, 1)
    if not isinstance(gone, nn.Module) or not is_first_right(varied, before):  # a build alone spoils it: see ``_many``
        return
    if any(tensor.is_inference() for _, tensor in named_tensors(gone)):
        varied.leave_out(variation, "weights made under inference mode cannot be given other memory")
        return
    memory = {name: _elsewhere(tensor.data) for name, tensor in named_tensors(gone)}
    for name, tensor in named_tensors(gone):
        tensor.data = memory[name].copy_(doubled(tensor))
    answer(varied, gone, 1)
    del gone
    gc.collect(0)
    layer = varied.fresh()
    for name, tensor in named_tensors(layer):
        if name in memory and memory[name].shape == tensor.shape:
            tensor.data = memory[name].copy_(tensor)
    check(varied, variation, layer)
    for _, tensor in named_tensors(layer):
        tensor.data.copy_(doubled(tensor))  # not by a load, which may spoil more: another variation's business
    check(varied, variation, living, label="a layer that lived before, after another one was freed")


def _elsewhere(tensor: Tensor) -> Tensor:
    """Memory for a tensor that begins where an allocator lets none begin.

    An allocator may give ``gone`` the address of an earlier layer's weight. That one had the same values, so that what is found
    by the address would be right. A tensor that is not contiguous stays where it is.
    """
    if not tensor.is_contiguous():
        return tensor
    memory = torch.empty(_OFFSET + tensor.nbytes, dtype=torch.uint8, device=tensor.device)
    return memory[_OFFSET:].view(tensor.dtype).view(tensor.shape)


def _many(varied: VariedRun, variation: Varied) -> None:
    """As many layers as a small model has, all of them alive. Each is right in its first call."""
    layers: list[Any] = []
    for number in range(MANY_LAYERS):
        layers.append(varied.fresh())
        right = check(varied, variation, layers[-1], number, label=f"layer {number + 1} of {MANY_LAYERS}")
        if right or not calls_are_right(varied, layers[0]):
            varied.run.calls.pop()
        if not right:
            varied.steady = False  # another variation's wrong calls say nothing then
            return
    check(varied, variation, layers[0], label=f"layer 1 of {MANY_LAYERS}, after the others")
