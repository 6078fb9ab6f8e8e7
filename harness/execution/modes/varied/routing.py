"""Routing: ids that name no expert, and what the experts of a layer that routes by itself are given."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.execution.rig import LAYER_ERRORS, Rig
from harness.ops.names import op_name

# Routing weights that are farther apart are not rounded to half precision, but others.
_ROUNDED = 0.02


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
    rig: Rig, inputs: tuple[Tensor, ...], plain: Callable[..., Any], varied: Callable[..., Any]
) -> bool:
    """Whether two functions give the experts other ids or weights for the same inputs. False where their op is given none."""
    if not rig.experts_op:
        return False
    one, other = (_routing_of(rig, inputs, function) for function in (plain, varied))
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
