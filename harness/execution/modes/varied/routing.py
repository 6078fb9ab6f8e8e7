"""Routing: ids that name no expert, what a layer that routes by itself gives its experts, and its choice among equal ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.execution.difference import within
from harness.execution.evidence import Call
from harness.execution.modes.varied.varied_run import VariedRun, rows_of
from harness.execution.rig import LAYER_ERRORS, Rig
from harness.ops.names import op_name

# Routing weights that are farther apart are not rounded to half precision, but others.
_ROUNDED = 0.02
# So many rows, so small: each has logits that are nearly equal, and by its direction chooses experts of its own.
_NEARLY, _SMALL = 64, 2.0**-10


def missing_ids(ids: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """(the ids, which of them are missing) of a routing [tokens, top_k], without a duplicate that was not there.

    Each slot in turn is missing. The slot after it, or the first after the last, names expert 0, then the last expert, then
    the one that it had: an id that is clamped or wrapped meets the expert that it is taken for. In the rows of the third
    kind all slots but that one are missing. Where rows have one slot, it is missing in every second row.
    """
    ids = ids.clone()
    tokens, top_k = ids.shape
    rows = torch.arange(tokens, device=ids.device)
    slot, kind = rows % top_k, rows // top_k % 3
    live = (slot + 1) % top_k
    if top_k == 1:
        return ids, (rows % 2 == 0)[:, None]
    _exchange(ids, rows[kind == 0], live[kind == 0], 0)
    _exchange(ids, rows[kind == 1], live[kind == 1], experts - 1)
    missing = slot[:, None] == torch.arange(top_k, device=ids.device)
    missing |= (kind == 2)[:, None] & (live[:, None] != torch.arange(top_k, device=ids.device))
    return ids, missing


def without_expert(ids: Tensor, experts: int, expert: int) -> Tensor | None:
    """The ids with another expert, one that the row does not name, where they named this one; None where there is no other."""
    if experts <= ids.shape[1]:
        return None
    named = torch.zeros(len(ids), experts, dtype=torch.bool, device=ids.device)
    named.scatter_(1, ids.long(), True)
    named[:, expert] = True
    return torch.where(ids == expert, named.int().argmin(1, keepdim=True).to(ids.dtype), ids)


def _exchange(ids: Tensor, rows: Tensor, slots: Tensor, expert: int) -> None:
    """Let these slots name this expert; a slot of the same row that did names what was there."""
    before = ids[rows, slots][:, None]
    ids[rows] = torch.where(ids[rows] == expert, before, ids[rows])
    ids[rows, slots] = expert


class _Routing(TorchDispatchMode):
    """A dispatch mode that copies the ids and weights [tokens, top_k] which the experts' op is given."""

    def __init__(self, op: str, shape: tuple[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given: list[Tensor] = []
        self._op, self._shape = op, shape

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op_name(func) == self._op:
            tensors = [arg for arg in (*args, *(kwargs or {}).values()) if isinstance(arg, Tensor)]
            self.given += [tensor.clone() for tensor in tensors if tensor.shape == self._shape]
        return func(*args, **(kwargs or {}))


def routes_otherwise(
    rig: Rig, inputs: tuple[Tensor, ...], plain: Callable[..., Any], varied: Callable[..., Any], ids_alone: bool = False
) -> bool:
    """Whether two functions give the experts other ids or weights for the same inputs. False where their op is given none.

    ``ids_alone``: where it is given ids, only they count.
    """
    if not rig.experts_op:
        return False
    one, other = (_routing_of(rig, inputs, function) for function in (plain, varied))
    if ids_alone and all(any(not given.is_floating_point() for given in routing) for routing in (one, other)):
        one, other = ([given for given in routing if not given.is_floating_point()] for routing in (one, other))
    return len(one) == len(other) and any(_differ(*pair) for pair in zip(one, other, strict=True))


def _differ(one: Tensor, other: Tensor) -> bool:
    return not torch.allclose(one.float(), other.float(), rtol=_ROUNDED, atol=_ROUNDED, equal_nan=True)


def _routing_of(rig: Rig, inputs: tuple[Tensor, ...], function: Callable[..., Any]) -> list[Tensor]:
    mode = _Routing(rig.experts_op, (inputs[0].shape[0], rig.case.top_k))
    try:
        with mode:
            function(*inputs)
    except LAYER_ERRORS:
        return []
    return mode.given


def choose_any(varied: VariedRun, call: Call, rows: list[int]) -> None:
    """Where a layer's own router meets equal logits in these rows, let the oracle choose the experts that the layer chose.

    Zeros give equal logits, and the smallest numbers give logits that a softmax cannot tell apart. Biases of the experts show
    which of them were chosen. The oracle's rows for inputs that are nearly zero have every choice that a direction makes.
    """
    if call.error or not isinstance(call.snapshot, Tensor) or not varied.is_wrong(call):
        return
    nearly = torch.randn(_NEARLY, call.before[0].shape[1], generator=torch.Generator().manual_seed(0)) * _SMALL
    choices = varied.rig.oracle((nearly.to(call.before[0]),))
    for row in rows:
        own = slice(row, row + 1)
        if within(call.snapshot[own], rows_of(call.expected, own)):
            continue
        fits = (one for one in range(_NEARLY) if within(call.snapshot[own], rows_of(choices, slice(one, one + 1))))
        if (one := next(fits, None)) is not None:
            call.expected = _with_row(call.expected, row, choices, one)
    call.difference = None


def _with_row(expected: Any, row: int, other: Any, one: int) -> Any:
    if isinstance(expected, Tensor):
        expected = expected.clone()
        expected[row] = other[one]
        return expected
    return {name: _with_row(part, row, other[name], one) for name, part in expected.items()}
