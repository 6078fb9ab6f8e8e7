"""Contents: inputs of special values and special routing. The oracle says what is right for each, and what it promises at all."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.execution.difference import total, within
from harness.execution.evidence import CALL_WITH, Run, Varied
from harness.execution.modes.varied import special_rows
from harness.execution.modes.varied.inputs import Inputs
from harness.execution.modes.varied.many_tokens import is_right
from harness.execution.modes.varied.routing import choose_any, missing_ids, without_expert
from harness.execution.modes.varied.varied_run import VariedRun, run_varied
from harness.execution.rig import Rig
from harness.subjects.checked import SubjectError

# Enough for several tokens of each expert.
TOKENS = 16
# Times as many tokens for one routing: more than an expert has room for where it has room for its share and some more, and for
# a fixed number beside.
_REPEATED = 24
_SMALL = 8192
# One row in so many names an expert of its own where all slots of a row name one.
_OWN = 4
# Added to logits, which no softmax sees. A sum of exponentials of such numbers is beyond fp32.
_SHIFT = 100.0
# A logit whose exponential is zero beside any other's, and which every dtype holds.
_NOTHING = -10_000.0
ABOVE = "above the largest"


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of one layer on inputs of special contents."""
    return run_varied(rig, {"content": _content}, tokens=TOKENS)


Change = Callable[[Inputs], Inputs]


def _zero_row(x: Inputs) -> Inputs:
    hidden = x.hidden.clone()
    hidden[-1] = 0
    return x.put(hidden=hidden)


def _same_rows(x: Inputs) -> Inputs:
    same = x.put(hidden=_first_row(x.hidden))
    return same.put(ids=_first_row(x.ids), weights=_first_row(x.weights)) if x.weights_at else same


def _first_row(tensor: Tensor) -> Tensor:
    return tensor[:1].expand_as(tensor).contiguous()


def _one_routing(x: Inputs) -> Inputs:
    many = replace(x, tensors=tuple(None if t is None else _repeated(t) for t in x.tensors))
    return many.put(ids=_first_row(many.ids))


def _repeated(tensor: Tensor) -> Tensor:
    return tensor.repeat(_REPEATED, *(1,) * (tensor.dim() - 1))


def _zero_weights(x: Inputs) -> Inputs:
    weights = x.weights
    weights[:, 0] = 0
    return x.put(weights=weights)


def _duplicate(x: Inputs) -> Inputs:
    """One expert in every slot of a row. Most rows name the first one's, which then has more pairs than there are rows."""
    return x.put(ids=_one_expert(x).expand_as(x.ids).contiguous())


def _one_expert(x: Inputs) -> Tensor:
    first = x.ids[:, :1]
    first[: -(len(first) // _OWN)] = x.ids[:1, :1]
    return first


def _summed(x: Inputs) -> Inputs:
    """Of the same meaning as duplicate ids: the first slot has all of the weight."""
    weights = torch.zeros_like(x.weights)
    weights[:, 0] = x.weights.sum(-1)
    return x.put(ids=torch.cat((_one_expert(x), x.ids[:, 1:]), 1), weights=weights)


def _shifted(x: Inputs) -> Inputs:
    return x.put(logits=x.logits + _SHIFT)


def _masked(x: Inputs, value: float = -torch.inf) -> Inputs:
    """The least logit of each row is minus infinity, or another value of which no softmax leaves anything."""
    return x.put(logits=x.logits.scatter(-1, x.logits.argmin(-1, keepdim=True), value))


def _tied(x: Inputs, order: int = 0) -> Inputs:
    """The largest logits of a row are equal; with an ``order`` of 1 or -1 they rise or fall by the least step."""
    logits, largest = x.logits, x.logits.topk(x.top_k, -1)
    top = largest.values[:, :1]
    steps = order * torch.arange(x.top_k, device=logits.device) * torch.finfo(logits.dtype).eps * top.abs().clamp(min=1)
    return x.put(logits=logits.scatter(-1, largest.indices, (top + steps).to(logits.dtype)))


def _no_expert(number: Callable[[Inputs], int], rows: slice | None = None) -> tuple[Change, Change]:
    """Ids that name no expert; and weights of zero there, which have the same meaning.

    In all slots of ``rows``; where that is None, in some slots of each row: see ``missing_ids``.
    """

    def places(x: Inputs) -> tuple[Tensor, Tensor]:
        if rows is None:
            return missing_ids(x.ids, x.experts)
        missing = torch.zeros_like(x.ids, dtype=torch.bool)
        missing[rows] = True
        return x.ids, missing

    def change(x: Inputs) -> Inputs:
        ids, missing = places(x)
        return x.put(ids=ids.masked_fill(missing, number(x)))

    def alike(x: Inputs) -> Inputs:
        ids, missing = places(x)
        return x.put(ids=ids, weights=x.weights.masked_fill(missing, 0))

    return change, alike


def _minus_one(x: Inputs) -> int:
    return -1


def _experts(x: Inputs) -> int:
    return x.experts


_LAST_ROW, _ALL = slice(-1, None), slice(None)
_VALUES: dict[str, Change] = {
    "zero-row": _zero_row,
    "same-rows": _same_rows,
    "times-32": lambda x: x.put(hidden=x.hidden * 32),
    "times-512": lambda x: x.put(hidden=x.hidden * 512),
    "tiny": lambda x: x.put(hidden=x.hidden / _SMALL),
    "negative": lambda x: x.put(hidden=-x.hidden.abs()),
    "positive": lambda x: x.put(hidden=x.hidden.abs()),
}
_ROUTING: dict[str, Change] = {
    "one-routing": _one_routing,
    "weights-above-one": lambda x: x.put(weights=x.weights * 2.5 + 1),
    "zero-weights": _zero_weights,
}
# Of the router's logits; each with inputs that every correct router treats alike, or the oracle promises nothing of it.
_LOGITS: dict[str, tuple[Change, tuple[Change, ...]]] = {
    "logits-shifted": (_shifted, (lambda x: x,)),
    "logits-masked": (_masked, (lambda x: _masked(x, _NOTHING),)),
    "logits-tied": (_tied, (lambda x: _tied(x, 1), lambda x: _tied(x, -1))),
}
# Each with inputs of the same meaning, for which the oracle must give the same: else it promises nothing of such ids.
_SPECIAL_IDS: dict[str, tuple[Change, Change]] = {
    "duplicate-ids": (_duplicate, _summed),
    "minus-one": _no_expert(_minus_one),
    "minus-one-row": _no_expert(_minus_one, _LAST_ROW),
    "minus-one-all": _no_expert(_minus_one, _ALL),
    "id-experts": _no_expert(_experts),
}


def _content(varied: VariedRun, variation: Varied) -> None:
    """One call, where the oracle gives a finite answer for such inputs and promises what they mean."""
    what = variation.name.partition("=")[2]
    if what == "id-experts" and not (varied.rig.declared.id_experts or varied.rig.vary):
        return None
    inputs = Inputs.of(varied.batch()[0], varied.rig.case)
    if what == "special-rows":
        return _special_rows(varied, variation, inputs)
    if what in _LOGITS:
        return _logits(varied, variation, inputs)
    if what == "empty-experts" and inputs.ids_at is not None:
        return _empty_experts(varied, variation, inputs)
    if what not in _VALUES and (inputs.ids_at is None or inputs.weights_at is None):
        return varied.leave_out(variation, "no input has the form of expert ids and routing weights, [tokens, top_k]")
    try:
        changed, expected = _changed(varied.rig, what, inputs)
    except (SubjectError, NoPromise) as error:
        return varied.leave_out(variation, str(error))
    if beyond := _beyond(total(expected), changed[0].dtype):
        return varied.leave_out(variation, f"the right output is {beyond} {changed[0].dtype}")
    call = varied.call(variation, changed, expected)
    if what == "zero-row" and _takes_rows_alone(inputs):
        choose_any(varied, call, [call.tokens - 1])
    if what in _SPECIAL_IDS:
        varied.refused(call, own=what == "minus-one-all" and _takes_some(varied, inputs))
    return None


def _takes_some(varied: VariedRun, inputs: Inputs) -> bool:
    """Whether the layer is right where one row has no expert: then an error where no row has one is no refusal of the id."""
    return is_right(varied, *_changed(varied.rig, "minus-one-row", inputs))


def _special_rows(varied: VariedRun, variation: Varied, inputs: Inputs) -> None:
    """Special rows in one call. No weights in the last row, where the oracle promises a finite answer for that."""
    for declared in (varied.rig.declared.texts, (*varied.rig.declared.texts, "no-large-values")):
        rows = inputs.put(hidden=special_rows.changed(inputs.hidden, declared))
        has_weights = inputs.weights_at is not None
        for without in (True, False) if has_weights else (False,):
            one = rows.put(weights=special_rows.with_weights(rows.weights, without)) if has_weights else rows
            with suppress(SubjectError):
                expected = varied.rig.oracle(one.tensors)
                if _beyond(total(expected), inputs.hidden.dtype) == ABOVE:
                    break  # what the layer is for cannot be an output of this dtype: without outliers
                call = varied.call(variation, one.tensors, expected)
                if _takes_rows_alone(inputs):
                    choose_any(varied, call, special_rows.of_equal_logits(declared))
                if call.error is None and varied.is_wrong(call):
                    special_rows.name_rows(call, declared, has_weights, without)
                return
    varied.leave_out(variation, "the subject's oracle gives no finite answer for such rows")


def _takes_rows_alone(inputs: Inputs) -> bool:
    """Whether hidden_states are all that the layer is given."""
    return len(inputs.tensors) == 1


def _empty_experts(varied: VariedRun, variation: Varied, inputs: Inputs) -> None:
    """A call for each of three experts that no token chooses: what is counted for each expert is zero there."""
    for place, expert in _PLACES_OF_EXPERTS.items():
        number = expert(inputs.experts)
        ids = without_expert(inputs.ids, inputs.experts, number)
        if ids is None:
            return
        call = varied.call(
            variation, inputs.put(ids=ids).tensors, label=f"{CALL_WITH}no token for the {place} expert ({number})"
        )
        if call.error or varied.is_wrong(call):
            return


_PLACES_OF_EXPERTS: dict[str, Callable[[int], int]] = {
    "first": lambda experts: 0,
    "last": lambda experts: experts - 1,
    "middle": lambda experts: experts // 2,
}


def _logits(varied: VariedRun, variation: Varied, inputs: Inputs) -> None:
    """Router logits of which the oracle says what they mean; nothing where no input is logits."""
    if inputs.logits_at is None:
        return
    change, others = _LOGITS[variation.name.partition("=")[2]]
    changed = change(inputs).tensors
    try:
        expected = varied.rig.oracle(changed)
        alike = all(within(total(expected), varied.rig.oracle(other(inputs).tensors)) for other in others)
    except SubjectError as error:
        return varied.leave_out(variation, str(error))
    if not alike:
        return varied.leave_out(variation, "the subject's oracle gives such logits another meaning")
    varied.refused(varied.call(variation, changed, expected), own=True)


def _beyond(expected: Tensor, dtype: torch.dtype) -> str:
    """Where the oracle's values lie beyond what an output of this dtype, that of hidden_states, holds with its precision."""
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    if largest > torch.finfo(dtype).max:
        return ABOVE
    return "below the smallest normal" if 0 < largest < torch.finfo(dtype).tiny else ""


class NoPromise(Exception):
    """The subject says nothing of such inputs; the text says why."""


def _changed(rig: Rig, what: str, inputs: Inputs) -> tuple[tuple[Tensor, ...], Any]:
    """The changed inputs, and the oracle's output for them. Raises NoPromise and SubjectError."""
    if what not in _SPECIAL_IDS:
        made = (_VALUES | _ROUTING)[what](inputs).tensors
        changed = tuple(t if t is None else t[: rig.most_tokens] for t in made)
        return changed, rig.oracle(changed)
    if what == "id-experts" and not rig.declared.id_experts:
        raise NoPromise("the subject does not declare id-experts")
    if not inputs.ids.dtype.is_signed:
        raise NoPromise(f"its expert ids are {inputs.ids.dtype}, which has no -1")
    change, alike = _SPECIAL_IDS[what]
    changed = change(inputs).tensors
    expected = rig.oracle(changed)
    if not within(total(expected), rig.oracle(alike(inputs).tensors)):
        raise NoPromise("the subject's oracle gives such ids another meaning")
    return changed, expected
