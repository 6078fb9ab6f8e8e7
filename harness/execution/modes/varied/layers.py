"""Several layers and other weights: what a layer computes belongs to its own weights, whatever came before."""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from harness.base.exception_text import text_of
from harness.execution.evidence import Call, LeftBehind, Run, Varied, same_bits
from harness.execution.memory.fresh_memory import copy_of
from harness.execution.modes.varied.beside.derived import note_derived, unreached
from harness.execution.modes.varied.beside.others import other_layers, two_layers
from harness.execution.modes.varied.beside.parts import in_parts, later_rows
from harness.execution.modes.varied.beside.unsaved import give_unsaved, prepares_at_load, same_output
from harness.execution.modes.varied.beside.weights import (
    FIRST,
    State,
    assign,
    copies,
    first_answer,
    load,
    named_tensors,
    other_weights,
)
from harness.execution.modes.varied.checks import (
    answer,
    check,
    if_steady,
    layer_of,
    rig_of,
    run_few,
    whole,
)
from harness.execution.modes.varied.varied_run import Variation, VariedRun
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.matrix.variations import words_of

_BESIDE = ("other=before", "other=between")
_LONGEST = 200  # of an exception's text
RESTORED = "weights=restored"


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of several layers of one class, and of layers whose weights were loaded, copied or swapped after a call."""
    return run_few(rig, {"other": other_layers, "weights": if_alone(_weights)})


def if_alone(variation: Variation) -> Variation:
    """A variation that is left out where a layer is wrong beside another one of its class: that is the reason then.

    Layers beside others come first. After a variation that spoils all layers, they would be wrong as well.
    """

    def run_it(varied: VariedRun, what: Varied) -> None:
        if not _are_wrong_beside_others(varied):
            if_steady(variation)(varied, what)

    return run_it


def _are_wrong_beside_others(varied: VariedRun) -> bool:
    """Whether a layer is wrong after one with other weights was called, or in between. The wrong calls are left in the run."""
    if not any(call.varied and call.varied.name in _BESIDE for call in varied.run.calls):
        before = len(varied.run.calls)
        for name in _BESIDE:
            if_steady(two_layers)(varied, Varied(name, words_of(name)))
        varied.run.calls[before:] = [call for call in varied.run.calls[before:] if _is_bad(varied, call)]
    return any(call.varied.name in _BESIDE and _is_bad(varied, call) for call in varied.run.calls if call.varied)


def _is_bad(varied: VariedRun, call: Call) -> bool:
    return call.error is not None or varied.is_wrong(call)


def _weights(varied: VariedRun, variation: Varied) -> None:
    """One of the ways in which a used layer gets weights, or gives them to another."""
    if isinstance(varied.layer, nn.Module) and varied.layer.state_dict():
        _WAYS[variation.name.partition("=")[2]](varied, variation)


def _reload(varied: VariedRun, variation: Varied) -> None:
    layer, state = varied.fresh(), other_weights(varied.layer)
    answer(varied, layer)  # on the inputs that come again: answers that are held by contents show too
    _compare(varied, variation, layer, state, load)


def _assigned(varied: VariedRun, variation: Varied) -> None:
    layer = varied.fresh()
    answer(varied, layer, 1)
    _compare(varied, variation, layer, other_weights(layer), assign)


def _each(varied: VariedRun, variation: Varied) -> None:
    """One weight after the other, before the first call."""
    if names := list(unreached(varied, own_weights(varied.layer), load)):
        note_derived(varied, variation, names)


def _compare(
    varied: VariedRun, variation: Varied, layer: Any, state: State, give: Callable[[Any, State], bool]
) -> None:
    """Give a used layer other weights, and compare it with one that had them from the start."""
    wanted = first_answer(varied, state)
    if wanted is not None and give(layer, state):
        check(varied, variation, layer, expected=whole(wanted), reference=FIRST)


def _own(varied: VariedRun, variation: Varied) -> None:
    layer = varied.fresh()
    answer(varied, layer, 1)
    own = own_weights(layer)
    load(layer, other_weights(layer))  # so that a load which is the second one shows
    if load(layer, own) and not check(varied, variation, layer):
        before = len(varied.run.calls)
        _restored(varied, Varied(RESTORED, words_of(RESTORED)))
        restored = varied.run.calls[before:]
        if any(call.error or varied.is_wrong(call) for call in restored):
            del varied.run.calls[before - 1]  # the other weights and the call do not matter
        else:
            del varied.run.calls[before:]


def own_weights(layer: nn.Module) -> State:
    """A copy of what a layer's state_dict holds."""
    return copies(layer.state_dict())


def _restored(varied: VariedRun, variation: Varied) -> None:
    layer = varied.fresh()
    if load(layer, own_weights(layer)):
        check(varied, variation, layer)


def _written(varied: VariedRun, variation: Varied) -> None:
    """In place: the memory is the same, and what counts the writes to a tensor does not see one through ``.data``."""
    layer, other, state = varied.fresh(), varied.fresh(), other_weights(varied.layer)
    own = {name: copy_of(tensor) for name, tensor in _tensors(layer).items()}
    answer(varied, layer)
    if load(other, state):
        before = len(varied.run.calls)
        _compare(varied, variation, layer, state, lambda one, _: _write(_tensors(other), one, through_data=True))
        right = not any(call.error or varied.is_wrong(call) for call in varied.run.calls[before:])
        if right and len(varied.run.calls) > before and _write(own, layer, through_data=False):
            check(varied, variation, layer, label="its own weights, written in place under no_grad after that")


def _tensors(layer: nn.Module) -> State:
    """A layer's parameters and buffers, by name."""
    return {name: tensor.detach() for name, tensor in named_tensors(layer)}


def _write(tensors: State, layer: nn.Module, through_data: bool) -> bool:
    """Copy these tensors into those of a layer; False where it raises."""
    with contextlib.suppress(*LAYER_ERRORS), torch.no_grad():
        for name, tensor in named_tensors(layer):
            (tensor.data if through_data else tensor).copy_(tensors[name])
        return True
    return False


def _saved(varied: VariedRun, variation: Varied) -> None:
    layer, restored = varied.fresh(), varied.fresh()
    before = layer.state_dict()
    answer(varied, layer, 1)
    if load(restored, layer.state_dict()):
        check(varied, variation, restored)
    elif load(varied.fresh(), before):
        refused(varied, variation, lambda: varied.fresh().load_state_dict(layer.state_dict()), "load_state_dict")


def refused(varied: VariedRun, variation: Varied, act: Callable[[], Any], doing: str) -> None:
    """Note that something works with a layer that was not called, and raises with one that was."""
    try:
        act()
    except LAYER_ERRORS as error:
        text = " ".join(text_of(error).split())[:_LONGEST]
        what = f"{variation.words}: {doing} raises {type(error).__name__}, which it does not before a call: {text}"
        varied.run.left_behind.append(LeftBehind(variation, what))


def _copied(varied: VariedRun, variation: Varied) -> None:
    layer = varied.fresh()
    answer(varied, layer, 1)
    copied = _copy(layer)
    if copied is None:
        if _copy(varied.fresh()) is not None:
            refused(varied, variation, lambda: copy.deepcopy(layer), "copy.deepcopy")
        return
    _compare(varied, variation, copied, other_weights(layer), load)
    check(varied, variation, layer, label="a layer, after other weights were loaded into its deepcopy")


def _copy(layer: nn.Module) -> nn.Module | None:
    """A deepcopy; None where it raises."""
    with contextlib.suppress(*LAYER_ERRORS):
        return copy.deepcopy(layer)
    return None


def _swapped(varied: VariedRun, variation: Varied) -> None:
    """What a layer prepares when weights are loaded, it promises nothing of without a load."""
    if prepares_at_load(varied.layer):
        return varied.leave_out(variation, "the layer prepares its weights where they are loaded")
    layer, state = varied.fresh(), other_weights(varied.layer)
    other = varied.fresh()
    answer(varied, layer)
    if load(other, state):
        _compare(varied, variation, layer, state, lambda one, _: _swap_from(other, one))
    return None


def _swap_from(other: nn.Module, layer: nn.Module) -> bool:
    """Give a layer the tensors of another one: a checkpoint may have them in another form."""
    tensors = _tensors(other)
    for name, tensor in named_tensors(layer):
        tensor.data = copy_of(tensors[name])
    return True


def _evaluated(varied: VariedRun, variation: Varied) -> None:
    layer = varied.fresh()
    for _ in range(2):
        layer.eval()
        answer(varied, layer, 1)
    if check(varied, variation, layer):
        layer.train()
        layer.eval()
        check(varied, variation, layer, label="a layer after train() and eval()")


def _of_rank(varied: VariedRun, variation: Varied) -> None:
    """The checkpoint of another rank: a weight that it lacks shows. What else a rank decides shows too."""
    case = replace(varied.rig.case, tp=max(varied.rig.case.tp, 2))
    mine, others = (rig_of(varied.rig, replace(case, rank=rank)) for rank in (0, 1))
    if mine is None or others is None:
        return
    layer, other = layer_of(mine), layer_of(others)
    wanted, own = answer(varied, other), answer(varied, layer_of(mine))
    if wanted.snapshot is None or own.snapshot is None or same_bits(wanted.snapshot, own.snapshot):
        return
    if load(layer, other.state_dict()):
        right = check(
            varied, variation, layer, expected=whole(wanted.snapshot), reference="the layer that it was saved from"
        )
        names = [] if right else give_unsaved(layer, other)
        call = varied.run.calls[-1]
        if names and same_output(answer(varied, layer), wanted):
            call.label = f"it lacks {' and '.join(names)}"
        elif not right:
            varied.run.calls.pop()  # the ranks differ in more than weights


_WAYS: dict[str, Callable[[VariedRun, Varied], None]] = {
    "reloaded": _reload,
    "loaded-again": _own,
    "restored": _restored,
    "assigned": _assigned,
    "each": _each,
    "later-rows": later_rows,
    "in-parts": in_parts,
    "saved-after-use": _saved,
    "deepcopy": _copied,
    "data-swapped": _swapped,
    "written-in-place": _written,
    "eval": _evaluated,
    "from-another": _of_rank,
}
