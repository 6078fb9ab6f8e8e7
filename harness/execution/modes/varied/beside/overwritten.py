"""Which call of many overwrote an output that its caller still holds."""

from collections.abc import Callable

from torch import Tensor

from harness.execution.evidence import WHEN_RETURNED, Call, same_bits
from harness.execution.modes.varied.checks import answer, place_of
from harness.execution.modes.varied.varied_run import VariedRun

Then = Callable[[Call], None]


def save_alias(call: Call) -> None:
    """Save only an alias of a call's output, as a slice is under inference mode: the memory's, and no tensor refers to it."""
    if isinstance(call.output, Tensor):
        call.output = call.output.detach()


def overwritten_by(
    varied: VariedRun, made: list[Call], then: Then = lambda call: None
) -> tuple[str, Tensor, Tensor, str] | None:
    """(what happened, the output now, the output when it was returned, whose that is) of the first output that changed.

    None where all outputs are as they were. ``made`` are the calls, in order. ``then`` was done after each.
    """
    changed = next((number for number, call in enumerate(made) if _changed(call)), None)
    if changed is None:
        return None
    output, snapshot = made[changed].output, made[changed].snapshot
    assert output is not None
    assert snapshot is not None
    later = _first_writer(varied, changed, len(made), then)
    label = f"the output of call {changed + 1} after call {later + 1}"
    return label, output, snapshot, WHEN_RETURNED


def _changed(call: Call) -> bool:
    return isinstance(call.output, Tensor) and call.snapshot is not None and not same_bits(call.output, call.snapshot)


def _first_writer(varied: VariedRun, changed: int, count: int, then: Then) -> int:
    """The number of the call that overwrites it, by as many calls of another layer; the last where none does."""
    layer, calls = varied.fresh(), list[Call]()
    for number in range(count):
        calls.append(answer(varied, layer, place_of(number)))
        then(calls[-1])
        if number > changed and _changed(calls[changed]):
            return number
    return count - 1
