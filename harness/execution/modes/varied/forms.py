"""Forms: the same values in memory of another form, under grad mode, and in other dtypes.

Right values are right, and so is a clear error.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from harness.execution.evidence import Call, Run, Varied, same_bits
from harness.execution.memory.fresh_memory import copy_of
from harness.execution.modes.varied.inputs import Inputs
from harness.execution.modes.varied.varied_run import Around, VariedRun, rows_of, run_varied
from harness.execution.rig import Rig
from harness.matrix.case import Case, round_up
from harness.ops.tensor_bytes import bytes_of

# Columns and rows beside an input: no multiple of a tile, and enough for a layer that pads in place.
_COLUMNS, _ROWS = 176, 2
# What lies beside an input, in all forms but one; an id that names an expert. Finite, so that the variation that has NaN there
# is the only one that shows a layer which reads it and multiplies it by zero.
_BESIDE = 3.0

Form = Callable[[Tensor], Tensor]


def run(rig: Rig, dynamic: bool) -> Run:
    """Calls of one layer on the same values in other forms."""
    return run_varied(rig, {"form": _form, "dtype": _dtype})


def sliced(tensor: Tensor) -> Tensor:
    """The tensor as columns of a wider buffer."""
    buffer = _filled(tensor, (*tensor.shape[:-1], tensor.shape[-1] + _COLUMNS))
    return buffer[..., : tensor.shape[-1]].copy_(tensor)


def _row_offset(tensor: Tensor) -> Tensor:
    buffer = _filled(tensor, (tensor.shape[0] + 2 * _ROWS, *tensor.shape[1:]))
    return buffer[_ROWS:-_ROWS].copy_(tensor)


def _unaligned(tensor: Tensor) -> Tensor:
    return _filled(tensor, (tensor.numel() + 2,))[1:-1].view(tensor.shape).copy_(tensor)


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor.clone()


def _filled(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    beside = _BESIDE if tensor.is_floating_point() else 0
    return torch.full(shape, beside, dtype=tensor.dtype, device=tensor.device)


def _beside_nan(tensor: Tensor) -> Tensor:
    """As columns of a wider buffer that holds NaN beside, as a request before may leave it."""
    inside = sliced(tensor)
    if tensor.is_floating_point() and inside._base is not None:
        inside._base[..., tensor.shape[-1] :] = torch.nan
    return inside


def _expanded(tensor: Tensor) -> Tensor:
    """The first row alone, expanded. The memory after it holds other values, such as those of other rows."""
    if tensor.dim() < 2 or not len(tensor):
        return tensor.clone()
    buffer = tensor.flip(-1).contiguous()
    buffer[0] = tensor[0]
    return buffer[:1].expand_as(tensor)


_FORMS: dict[str, Form] = {
    "beside-nan": _beside_nan,
    "slice": sliced,
    "row-offset": _row_offset,
    "unaligned": _unaligned,
    "expanded": _expanded,
    "transposed": _transposed,
    "transposed-fakes": _transposed,
}


def _form(varied: VariedRun, variation: Varied) -> None:
    what = variation.name.partition("=")[2]
    if what == "requires-grad":
        recorder = varied.rig.recorder(contract=True)  # a fake may take another path under grad mode too
        varied.refused(varied.call(variation, *varied.batch(), around=_under_grad, recorder=recorder))
        return None
    beside_nan = _made(varied, "form=beside-nan") if what == "slice" else None
    if beside_nan and not beside_nan.error and not varied.is_wrong(beside_nan):
        return None  # whatever lies beside
    if what in _OF_ONE:
        return _of_one(varied, variation)
    call = call_in_form(varied, variation, _FORMS[what])
    if call is not None and beside_nan and varied.is_wrong(call):
        varied.drop(beside_nan)  # it is not what lies beside
    return None


def call_in_form(varied: VariedRun, variation: Varied, form: Form, around: Around | None = None) -> Call | None:
    """One call with all inputs in another form, with the inputs that show a wrong output alone; None where it raised a clear error.

    ``around`` turns the layer into the function that is called.
    """
    call = _call(varied, variation, form, around or _as_it_is)
    if call is not None and varied.is_wrong(call):
        call.varied_inputs = _alone(varied, variation, form, around or _as_it_is)
    return call


def _of_one(varied: VariedRun, variation: Varied) -> None:
    """One input in another form, the others dense. Nothing where a slice of all inputs, or of another one, shows it too."""
    inputs = Inputs.of(varied.batch()[0], varied.rig.case)
    place, form = _OF_ONE[variation.name.partition("=")[2]](inputs, varied.rig.case)
    shown = _shown(varied, "form=slice", "form=beside-nan", "form=hidden-slice")
    if place is not None and not shown:
        _call(varied, variation, form, _as_it_is, place)


def _slice_of_hidden(inputs: Inputs, case: Case) -> tuple[int | None, Form]:
    return (0 if len(inputs.tensors) > 1 else None), sliced  # alone it is a slice of all inputs


def _slice_of_ids(inputs: Inputs, case: Case) -> tuple[int | None, Form]:
    return inputs.ids_at, sliced


def _padded_buffer(inputs: Inputs, case: Case) -> tuple[int | None, Form]:
    """None where hidden_states needs no padding."""
    more = round_up(case.hidden, case.alignment.hidden) - case.hidden
    return (0 if more else None), lambda tensor: pad(tensor, (0, more), value=torch.nan)[:, : tensor.shape[1]]


_OF_ONE: dict[str, Callable[[Inputs, Case], tuple[int | None, Form]]] = {
    "hidden-slice": _slice_of_hidden,
    "ids-slice": _slice_of_ids,
    "padded-buffer": _padded_buffer,
}


def _shown(varied: VariedRun, *names: str) -> bool:
    """Whether the call of one of these variations failed."""
    calls = [call for call in varied.run.calls if call.varied and call.varied.name in names]
    return any(call.error is not None or varied.is_wrong(call) or call.overwrote_beside for call in calls)


def _made(varied: VariedRun, name: str) -> Call | None:
    """The call of a variation that was made before."""
    return next((call for call in varied.run.calls if call.varied and call.varied.name == name), None)


def _call(varied: VariedRun, variation: Varied, form: Form, around: Around, only: int | None = None) -> Call | None:
    """One call with all inputs or one of them in another form, and whether it wrote beside them.

    None where it raised a clear error.
    """
    inputs, expected = _alike(varied) if variation.name == "form=expanded" else varied.batch()

    def make(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        chosen = [only in (None, place) and tensor is not None for place, tensor in enumerate(tensors)]
        return tuple(form(tensor) if one else tensor for one, tensor in zip(chosen, tensors, strict=True))

    before = [copy_of(_buffer(tensor)) for tensor in _present(make(inputs))]
    recorder = varied.rig.recorder(contract=True) if variation.name == "form=transposed-fakes" else None
    call = varied.call(variation, inputs, expected, form=make, around=around, recorder=recorder)
    if varied.refused(call):
        return None
    given = _present(call.inputs)
    beside = all(map(same_bits, _present(call.before), given))  # a write into the input itself is another fault
    call.overwrote_beside = _written_beside(call.inputs, before, [*map(_buffer, given)]) if beside else ""
    return call


def _alike(varied: VariedRun) -> tuple[tuple[Tensor, ...], Any]:
    """Inputs and the oracle's output, all of whose rows are the first one."""
    inputs, expected = varied.batch()
    rows = torch.zeros(len(inputs[0]), dtype=torch.int64, device=inputs[0].device)
    return tuple(t if t is None else t[rows] for t in inputs), rows_of(expected, rows)


def _written_beside(inputs: tuple[Tensor, ...], before: list[Tensor], now: list[Tensor]) -> str:
    """How many values of which buffer are others than before: ``1,232 values beside hidden_states``; empty for none."""
    places = [place for place, tensor in enumerate(inputs) if tensor is not None]
    for place, old, new in zip(places, before, now, strict=True):
        if not same_bits(old, new):
            changed = int((_bits(old) != _bits(new)).any(-1).sum())
            return f"{changed:,} value{'s' * (changed != 1)} beside {f'input {place}' if place else 'hidden_states'}"
    return ""


def _bits(tensor: Tensor) -> Tensor:
    """The bytes of each element, [..., bytes]: NaN is not equal to itself."""
    return bytes_of(tensor).view(-1, tensor.element_size())


def _present(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Without optional inputs that are absent."""
    return [tensor for tensor in tensors if tensor is not None]


def _buffer(tensor: Tensor) -> Tensor:
    return tensor if tensor._base is None else tensor._base


def _alone(varied: VariedRun, variation: Varied, form: Form, around: Around) -> tuple[int, ...]:
    """The places of the inputs that show it alone. Their calls are no evidence of their own."""
    shown = []
    for place in range(len(varied.batch(1)[0])):
        call = _call(varied, variation, form, around, only=place)
        if call is not None:
            varied.drop(call)
            if call.error is None and varied.is_wrong(call):
                shown.append(place)
    return tuple(shown)


def _as_it_is(layer: Any) -> Any:
    return layer


def _under_grad(layer: Any) -> Any:
    def call(hidden: Tensor, *others: Tensor) -> Any:
        with torch.enable_grad():
            output = layer(hidden.requires_grad_(), *others)
        hidden.requires_grad_(False)
        return output.detach() if isinstance(output, Tensor) else output

    return call


def _dtype(varied: VariedRun, variation: Varied) -> None:
    what = variation.name.partition("=")[2]
    of_routing = {"int64-ids": _int64_ids, "bfloat16-weights": _half_weights}
    of_routing.get(what, _of_dtype)(varied, variation)


def _int64_ids(varied: VariedRun, variation: Varied) -> None:
    tensors, expected = varied.batch()
    inputs = Inputs.of(tensors, varied.rig.case)
    if inputs.ids_at is None:
        return varied.leave_out(variation, "no input has the form of expert ids, [tokens, top_k]")
    other = torch.int64 if inputs.ids.dtype != torch.int64 else torch.int32
    varied.refused(varied.call(variation, inputs.put(ids=inputs.ids.to(other)).tensors, expected))
    return None


def _half_weights(varied: VariedRun, variation: Varied) -> None:
    """The oracle gets the rounded values in the dtype that it knows."""
    inputs = Inputs.of(varied.batch()[0], varied.rig.case)
    if inputs.weights_at is None:
        return varied.leave_out(variation, "no input has the form of routing weights, [tokens, top_k]")
    half, dtype = inputs.weights.bfloat16(), inputs.weights.dtype
    expected = varied.rig.oracle(inputs.put(weights=half.to(dtype)).tensors)
    varied.refused(varied.call(variation, inputs.put(weights=half).tensors, expected))
    return None


def _of_dtype(varied: VariedRun, variation: Varied) -> None:
    """A layer that its subject builds for another dtype of hidden_states, where the subject's inputs follow the case's dtype."""
    name = variation.name.partition("=")[2]
    other = varied.of(replace(varied.rig.case, dtype=name), varied.rig.case.tokens)
    if other is None:
        return varied.leave_out(variation, f"the subject builds no layer for {name}")
    inputs, expected = other.batch()
    if inputs[0].dtype != getattr(torch, name):
        return varied.leave_out(variation, f"the subject's inputs are {inputs[0].dtype} whatever the case's dtype is")
    call = other.call(variation, inputs, expected)
    if other.refused(call):
        return None
    call.case = other.rig.case
    varied.run.calls.append(call)
    return None
