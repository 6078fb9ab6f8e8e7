"""What the variations of the surroundings share: a call that is compared with the oracle or with another layer's output."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from harness.base.errors import Skip
from harness.execution.evidence import Call, LeftBehind, Run, Varied
from harness.execution.modes.varied.routing import routes_otherwise
from harness.execution.modes.varied.varied_run import Variation, VariedRun, rows_of, run_varied
from harness.execution.rig import BuildFailed, Rig
from harness.matrix.case import Case
from harness.subjects.checked import SubjectError

Around = Callable[[], AbstractContextManager[Any]]
FEW = 7
"""Tokens of a call here: the number of tokens is not what is varied."""
MANY_TOKENS = 264
"""More rows, and more pairs of a row and an expert, than bfloat16 counts exactly. An even number: its halves are two batches."""
MANY_CALLS, PLACES = 64, 16
"""How many calls are many, and how many batches they take in turn."""
MANY_LAYERS, _FIRST_CALLS = 16, 3
"""How many layers of one class are many."""


def few(rig: Rig) -> int:
    """The number of tokens of a call here: fewer where the layer takes no more."""
    return min(FEW, rig.most_tokens)


def run_few(rig: Rig, variations: Mapping[str, Variation], most: int = FEW * PLACES) -> Run:
    """A run of a varied mode on batches of a few tokens. ``most`` is the number of tokens that there are inputs for."""
    return run_varied(rig, variations, batch=most)


def check(
    varied: VariedRun,
    variation: Varied,
    layer: Callable[..., Any],
    place: int = 0,
    *,
    inputs: tuple[Tensor, ...] = (),
    expected: Any = None,
    label: str = "",
    reference: str = "",
    around: Around = nullcontext,
) -> bool:
    """Call a layer on a batch, by default that of this place, and add the call to the run. Whether it is right.

    ``expected`` is the output of ``reference``, or the oracle's where there is none. The call is made inside ``around``,
    and the oracle is not.
    """
    batch, right = batch_of(varied, place)
    given = inputs or batch
    call = Call(label or variation.words, given[0].shape[0], given, varied=variation, reference=reference)
    varied.run.calls.append(call)
    varied.alive.append(given)

    def inside(*tensors: Tensor) -> Any:
        with around():
            return layer(*tensors)

    if varied.rig.make(call, inside):
        call.expected = right if expected is None else expected
    if isinstance(call.output, FakeTensor):
        varied.run.calls.remove(call)
        varied.run.left_behind.append(LeftBehind(variation, f"{call.label} returned a FakeTensor"))
        return False
    wrong = varied.is_wrong(call)
    if wrong and around is not nullcontext:
        call.other_routing = routes_otherwise(varied.rig, call.before, varied.fresh(), inside)
    return call.error is None and not wrong


def if_steady(variation: Variation) -> Variation:
    """A variation whose wrong calls are dropped where many plain calls are not right either.

    They are not dropped where no layer's first call is right any more, and was before: then the variation spoilt the process.
    """

    def run_it(varied: VariedRun, what: Varied) -> None:
        before, known = len(varied.run.calls), varied.steady
        variation(varied, what)
        wrong = [call for call in varied.run.calls[before:] if call.error or varied.is_wrong(call)]
        if not wrong or is_steady(varied):
            return
        if known is None and not any(is_first_right(varied, varied.fresh()) for _ in range(_FIRST_CALLS)):
            wrong[0].label += "; from then on every layer is wrong"
        else:
            del varied.run.calls[before:]

    return run_it


def is_first_right(varied: VariedRun, layer: Callable[..., Any]) -> bool:
    """Whether the first call of a layer is right."""
    return _is_right(varied, answer(varied, layer), 0)


def is_steady(varied: VariedRun) -> bool:
    """Whether many calls of one layer and the first calls of many layers are right; tried once.

    Where they are not, a wrong call says nothing of what was varied in it. Both are variations themselves.
    """
    if varied.steady is None:
        varied.steady = calls_are_right(varied, varied.fresh()) and _layers_are_right(varied)
    return varied.steady


def calls_are_right(varied: VariedRun, layer: Callable[..., Any]) -> bool:
    """Whether many calls of this layer are right, on inputs that all stay in memory."""
    places = map(place_of, range(MANY_CALLS))
    return all(_is_right(varied, answer(varied, layer, place), place) for place in places)


def _layers_are_right(varied: VariedRun) -> bool:
    layers = [varied.fresh() for _ in range(MANY_LAYERS)]
    return all(_is_right(varied, answer(varied, layer, number), number) for number, layer in enumerate(layers))


def _is_right(varied: VariedRun, call: Call, place: int) -> bool:
    call.expected = batch_of(varied, place % PLACES)[1]
    return call.error is None and not varied.is_wrong(call)


def place_of(number: int) -> int:
    """The place of a batch for this call of many. It repeats after no number of calls, since a layer may reuse memory in turn."""
    return (number + number // PLACES + number // PLACES**2) % PLACES


def batch_of(varied: VariedRun, place: int) -> tuple[tuple[Tensor, ...], Any]:
    """Inputs of a few tokens and the oracle's output; another place has other inputs."""
    tokens = min(few(varied.rig), varied.most)
    start = tokens * (place % (varied.most // tokens))
    inputs, expected = varied.batch(start + tokens)
    rows = slice(start, None)
    return tuple(tensor if tensor is None else tensor[rows].clone() for tensor in inputs), rows_of(expected, rows)


def note(varied: VariedRun, variation: Varied, label: str, now: Tensor, wanted: Tensor, reference: str) -> bool:
    """Add a call that was made before to the run, with what its output holds now and what it should hold. Whether it does."""
    call = Call(label, now.shape[0], (), output=now, snapshot=now.clone(), varied=variation, reference=reference)
    call.expected = whole(wanted)
    varied.run.calls.append(call)
    return not varied.is_wrong(call)


def rig_of(rig: Rig, case: Case, around: AbstractContextManager[Any] | None = None) -> Rig | None:
    """A rig of another case; None where the subject builds no such layer. ``around`` is what it is built in."""
    try:
        other = replace(rig, case=case)
        with around or nullcontext():
            other.start()
    except (Skip, BuildFailed, SubjectError):
        return None
    return other


def layer_of(rig: Rig) -> Any:
    """A layer that was never called."""
    return rig.start().layer


def whole(output: Tensor) -> dict[str, Tensor]:
    """An output as what another is compared with."""
    return {"output": output.float()}


def answer(varied: VariedRun, layer: Callable[..., Any], place: int = 0, rig: Rig | None = None) -> Call:
    """A call of a layer, of another case's rig if one is given, that is compared with nothing and belongs to no run."""
    inputs = rig.inputs(few(rig), place) if rig else batch_of(varied, place)[0]
    call = Call("", inputs[0].shape[0], inputs)
    varied.alive.append(inputs)
    (rig or varied.rig).make(call, layer)
    return call
