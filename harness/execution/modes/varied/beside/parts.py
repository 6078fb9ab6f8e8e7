"""Weights that change in part: their later rows alone, and a checkpoint that is loaded in two parts."""

from typing import Any

from torch import Tensor

from harness.execution.evidence import Varied
from harness.execution.memory.wrapped import wraps_others
from harness.execution.modes.varied.beside.weights import copies, doubled, first_answer, load, other_weights
from harness.execution.modes.varied.checks import answer, check, whole
from harness.execution.modes.varied.varied_run import VariedRun

_AFTER_OTHERS = "a layer that got the same weights after others"
_AT_ONCE = "a layer that got the same weights in one load"


def later_rows(varied: VariedRun, variation: Varied) -> None:
    """Other values in the later half of each weight, as where experts are exchanged.

    What a layer prepares from a weight is old where it knows the weight by a sample of its first rows. A layer that had
    other weights altogether in between is right: all samples of those differ.
    """
    layer, reference = varied.fresh(), varied.fresh()
    state = {name: _later_half_doubled(value) for name, value in copies(layer.state_dict()).items()}
    for weights in (other_weights(reference), state):
        if not load(reference, weights):
            return
        wanted = answer(varied, reference).snapshot
    answer(varied, layer)
    if wanted is not None and load(layer, state):
        check(varied, variation, layer, expected=whole(wanted), reference=_AFTER_OTHERS)


def _later_half_doubled(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dim() and len(value) > 1 and not wraps_others(value):
        later = value[len(value) // 2 :]
        later.copy_(doubled(later))
    return value


def in_parts(varied: VariedRun, variation: Varied) -> None:
    """A checkpoint in two parts, loaded one after the other with ``strict=False``, as its files are. Either may be the first."""
    state = other_weights(varied.layer)
    names, half = [*state], len(state) // 2
    wanted = first_answer(varied, state)
    if wanted is None or not half:
        return
    parts = [{name: state[name] for name in some} for some in (names[:half], names[half:])]
    for order in (parts, parts[::-1]):
        layer = varied.fresh()
        if not all(load(layer, part, strict=False) for part in order):
            return
        if not check(varied, variation, layer, expected=whole(wanted), reference=_AT_ONCE):
            return
