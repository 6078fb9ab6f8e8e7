"""Rows of special values beside ordinary ones, all in one call: what one row holds must not change what another row gives."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.execution.difference import compare
from harness.execution.evidence import CALL_WITH, Call
from harness.ops.finite import all_finite

Row = Callable[[Tensor], Tensor]
# How many times as large an outlier is, a whole row and one of its elements. Activations of large models have such.
_ROW, _CHANNEL = 512, 64
# Numbers of this size are normal in bf16 and fp32, and what divides by them is beyond fp32.
_SMALLEST = 2.0**-121
NO_WEIGHTS = "all of whose routing weights are zero"
_LIGHTER = 32
SMALL_WEIGHTS = f"all of whose routing weights are divided by {_LIGHTER}"


def _with_zero(place: int) -> Row:
    def change(row: Tensor) -> Tensor:
        changed = row.clone()
        changed[place] = 0
        return changed

    return change


def _channel(place: Callable[[Tensor], int]) -> Row:
    def change(row: Tensor) -> Tensor:
        changed = row.clone()
        changed[place(row)] = _CHANNEL
        return changed

    return change


def _every_second(row: Tensor) -> Tensor:
    changed = row.clone()
    changed[1::2] = 0
    return changed


_ROWS: dict[str, Row] = {
    "that begins with zero": _with_zero(0),
    "that ends with zero": _with_zero(-1),
    "of one value throughout": torch.ones_like,
    "of negative zeros": lambda row: torch.zeros_like(row).neg(),
    "of which every second value is zero": _every_second,
}
_LEAST: dict[str, Row] = {"of the smallest numbers": lambda row: row * _SMALLEST}
_ALIKE = ("of negative zeros", "of the smallest numbers")
_OUTLIERS: dict[str, Row] = {
    f"with one value of {_CHANNEL}": _channel(lambda row: len(row) // 2),
    f"that is {_ROW} times as large": lambda row: row * _ROW,
    f"that ends with {_CHANNEL}": _channel(lambda row: -1),
}


def kinds_of(declared: tuple[str, ...]) -> dict[str, Row]:
    """What each of the first rows is, in order; without what the subject declares not to occur."""
    least = {} if "no-small-values" in declared else _LEAST
    return _ROWS | least | ({} if "no-large-values" in declared else _OUTLIERS)


def of_equal_logits(declared: tuple[str, ...]) -> list[int]:
    """The places of the rows whose router logits are all equal, or nearly so."""
    return [place for place, kind in enumerate(kinds_of(declared)) if kind in _ALIKE]


def changed(hidden: Tensor, declared: tuple[str, ...]) -> Tensor:
    """A copy of hidden_states in which the first rows are special, as many as there are."""
    rows = list(hidden.clone())
    for place, (row, change) in enumerate(zip(rows, kinds_of(declared).values(), strict=False)):
        rows[place] = change(row)
    return torch.stack(rows) if rows else hidden


def with_weights(weights: Tensor, is_last_without: bool) -> Tensor:
    """Routing weights that are small in the last row but one, and zero in the last one if asked for."""
    changed = weights.clone()
    changed[-2:-1] /= _LIGHTER
    if is_last_without:
        changed[-1] = 0
    return changed


def name_rows(call: Call, declared: tuple[str, ...], has_weights: bool, without_weights: bool) -> None:
    """Say in the label of a wrong call which of its special rows are wrong, or that ordinary ones beside them are."""
    kinds = dict(enumerate(kinds_of(declared)))
    kinds |= {call.tokens - 2: SMALL_WEIGHTS} if has_weights else {}
    if without_weights:
        kinds[call.tokens - 1] = NO_WEIGHTS
    wrong = _wrong_rows(call)
    special = [place for place in wrong if place in kinds]
    ordinary = [place for place in wrong if place not in kinds]
    if ordinary:
        beside = f" beside one that is {_ROW} times as large" if "no-large-values" not in declared else ""
        call.label = f"{CALL_WITH}rows of random values{beside}"
    elif special:
        call.label = f"{CALL_WITH}a row {kinds[special[0]]} (row {special[0]})"


def _wrong_rows(call: Call) -> list[int]:
    assert call.snapshot is not None
    assert call.expected is not None
    if not all_finite(call.snapshot):
        return [int(row) for row in (~torch.isfinite(call.snapshot)).any(1).nonzero().flatten()]
    difference = compare(call.snapshot, call.expected)
    return difference.tokens if difference else []
