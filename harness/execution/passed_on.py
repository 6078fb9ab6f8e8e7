"""What is passed on inside and by an op that routes and runs the experts, in a second look, only there.

The subject's own parts note what is passed on inside of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.base.source import SourceLine
from harness.execution.memory.external_memory import run_inside, tensors_in
from harness.execution.memory.wrapped import wrap_others
from harness.execution.watches.below_zero import BelowZero
from harness.ops.names import is_custom, op_name

_ROUNDING = 0.02  # of a weight that is cast to bfloat16 and back
_OF_LOGITS = 0.06  # of a weight whose logit was cast likewise


@dataclass(slots=True)
class Notes:
    """The routing that a router ``selected`` and the experts were ``given``, in parts, the logits likewise, and other facts.

    What the experts ``used`` is noted inside of them, since not all that run them pass where it is ``given``.
    ``misrouted`` says that one of the ``facts`` is of the routing.
    """

    routing: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    logits: dict[str, list[Tensor]] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    misrouted: bool = False

    def compare(self) -> None:
        """Add what the routing and the logits show. Of another number of rows they show nothing: one may be routed again."""
        if {*self.logits} == {"selected", "given"} and self._are_other_logits():
            note_fact(
                "Experts are chosen and weighted by other logits than the gate gives for these rows, or the caller.",
                of_routing=True,
            )
        if any(self._is_other_routing(where) for where in ("given", "used") if {"selected", where} <= {*self.routing}):
            note_fact("The experts are given other weights or ids than the routing function selected.", of_routing=True)

    def _are_other_logits(self) -> bool:
        """Whether a softmax of them differs: it does not see a number that is added to all logits of a row."""
        selected, given = (torch.cat(self.logits[where]).float().softmax(-1) for where in ("selected", "given"))
        return selected.shape == given.shape and not torch.allclose(selected, given, rtol=_OF_LOGITS, atol=1e-3)

    def without_expert(self, rows: int) -> Tensor | None:
        """Which rows have an id below zero, which names no expert: [T] bool; None where the router selected for another number."""
        ids = [ids for _, ids in self.routing.get("selected", ())]
        whole = torch.cat(ids) if ids else None
        return (whole < 0).any(-1) if whole is not None and whole.dim() == 2 and len(whole) == rows else None

    def _is_other_routing(self, there: str) -> bool:
        """Whether an expert has another weight there, whatever the order in a row."""
        parts = [part for where in ("selected", there) for part in self.routing[where]]
        count = 1 + max(int(ids.max()) if ids.numel() else 0 for _, ids in parts)
        selected, given = (
            torch.cat([_table(*part, count) for part in self.routing[where]]) for where in ("selected", there)
        )
        return selected.shape == given.shape and not torch.allclose(selected, given, rtol=_ROUNDING, atol=1e-3)


class AroundOp(TorchDispatchMode):
    """What an op is given and gives, in its last call inside a ``with`` block.

    ``rows`` is a copy of its first argument. ``indices`` are those of its ``count`` outputs that hold nothing but zeros.
    ``below_zero`` is the user's line inside of it that indexes with a number below zero; None for none.
    """

    def __init__(self, op: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._op = op
        self.indices: frozenset[int] = frozenset()
        self.count = 0
        self.rows: Tensor | None = None
        self.below_zero: SourceLine | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        is_op = op_name(func) == self._op
        if is_op:
            self.rows = next((one.detach().clone() for one in tensors_in(args)), None)
        watch = BelowZero()
        inside = is_op and is_custom(self._op)
        out = run_inside(watch, func, args, kwargs or {}) if inside else func(*args, **(kwargs or {}))
        if is_op:
            self.below_zero = watch.line
            outputs = [*tensors_in(out)]
            self.count = len(outputs)
            self.indices = frozenset(index for index, one in enumerate(outputs) if one.numel() and not one.any())
        return out


_notes: Notes | None = None


@contextmanager
def noting() -> Iterator[Notes]:
    """Note what is passed on inside a ``with`` block."""
    global _notes
    before, _notes = _notes, Notes()
    try:
        yield _notes
        _notes.compare()
    finally:
        _notes = before


def is_noting() -> bool:
    """Whether this is a second look."""
    return _notes is not None


def note_routing(where: str, weights: Tensor, ids: Tensor) -> None:
    """Note a routing as it is now, ``selected`` by the router, ``given`` to the experts or ``used``. Only in a second look."""
    if _notes is not None:
        _notes.routing.setdefault(where, []).append((weights.detach().clone(), ids.detach().clone()))


def note_logits(where: str, logits: Tensor) -> None:
    """Note a router's logits likewise."""
    if _notes is not None:
        _notes.logits.setdefault(where, []).append(logits.detach().clone())


def note_fact(sentence: str, of_routing: bool = False) -> None:
    """Note what is wrong in what a part was given. Does nothing outside of a second look."""
    if _notes is not None and sentence not in _notes.facts:
        _notes.facts.append(sentence)
        _notes.misrouted |= of_routing


def _table(weights: Tensor, ids: Tensor, experts: int) -> Tensor:
    """The weight of each expert in each row [T, E]. An id below zero names none."""
    ids, weights = ids.long(), weights.float()
    table = torch.zeros(len(ids), experts, device=ids.device)
    return table.scatter_add_(1, ids.clamp(min=0), weights.masked_fill(ids < 0, 0))
