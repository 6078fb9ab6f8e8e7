"""Reductions over the ranks, run and then undone: what is the same without them was never summed."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.execution.difference import right_tokens
from harness.execution.evidence import Call
from harness.execution.memory.external_memory import tensors_in
from harness.execution.memory.wrapped import wrap_others
from harness.ops.collectives import is_reduction
from harness.ops.finite import all_finite
from harness.ops.higher_order import call_inside, is_higher_order
from harness.ops.names import op_name


class Undone(TorchDispatchMode):
    """Each reduction runs, since the other ranks wait for it, and then gives what it was given. ``also`` names more of them."""

    supports_higher_order_operators = True

    def __init__(self, also: tuple[str, ...] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._also = also

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if wrap_others(types):
            return NotImplemented
        if is_higher_order(func):
            return call_inside(self, func, args, kwargs or {})
        name, given = op_name(func), [*tensors_in((args, [*(kwargs or {}).values()]))]
        if not given or not (is_reduction(name) or name in self._also):
            return func(*args, **(kwargs or {}))
        own = [one.clone() for one in given]
        out = func(*args, **(kwargs or {}))
        _give_back(given, own, tensors_in(out))
        return out


def _give_back(given: list[Tensor], own: list[Tensor], outputs: Iterable[Tensor]) -> None:
    """Write into what was given, and into outputs of their shape, what each held before."""
    for now, before in zip(given, own, strict=True):
        now.copy_(before)
    for output in outputs:
        if output.shape == own[0].shape:
            output.copy_(own[0])


def left_out(call: Call, alone: Tensor, ranks: int) -> bool:
    """Whether each wrong row of a call is the same without reductions, ``alone``, and right once summed over equal ranks."""
    output, expected = call.snapshot, call.expected
    if output is None or expected is None or alone.shape != output.shape or not all_finite(output):
        return False
    wrong = ~right_tokens(output, expected)
    if not wrong.any() or not output[wrong].any(-1).all():
        return False
    summed = right_tokens(output.float() * ranks, expected)
    return bool(summed[wrong].all()) and torch.equal(output[wrong], alone[wrong])
