"""What a rank gives to each reduction over the ranks, and the true sum in its place."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.ops.collectives import is_reduction
from harness.ops.names import op_name

_ROUNDING = 0.02  # of an output in bfloat16 that is rounded once or twice


class Reductions(TorchDispatchMode):
    """A dispatch mode in which each reduction over ``count`` ranks returns the true sum, where it is known already.

    ``also`` names the subject's own ops that reduce. Such an op may add something first, and ``given`` holds that sum.
    An op that does more than that is in ``more``, and ``given`` holds what it returned.
    """

    def __init__(self, sums: list[Tensor], also: tuple[str, ...] = (), count: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given: list[Tensor] = []
        self.more: dict[int, str] = {}
        self._sums, self._also, self._count = sums, also, count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = op_name(func), kwargs or {}
        own = name in self._also
        if not (is_reduction(name) or own) or not args or not isinstance(args[0], Tensor):
            return func(*args, **kwargs)
        parts = [value.clone() for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        out = func(*args, **kwargs)
        result = args[0] if out is None else out
        place = len(self.given)
        self.given.append(self._part(parts, result, name) if own and isinstance(result, Tensor) else parts[0])
        if isinstance(result, Tensor) and place < len(self._sums) and self._sums[place].shape == result.shape:
            result.copy_(self._sums[place])
        return out

    def _part(self, parts: list[Tensor], result: Tensor, name: str) -> Tensor:
        """What the op sums over the ranks: its first tensor, all of its shape together, or what is not known."""
        first = parts[0]
        both = torch.stack([part.float() for part in parts if part.shape == first.shape]).sum(0)
        for part in (first, both):
            if _near(result, part.float() * self._count):
                return part
        self.more[len(self.given)] = name
        return result.clone()


def _near(result: Tensor, expected: Tensor) -> bool:
    if result.shape != expected.shape:
        return False
    size = expected.abs().amax() if expected.numel() else expected.sum()
    return bool(((result.float() - expected).abs() <= _ROUNDING * size).all())
