"""What a body asks of its arguments: the comparisons of their sizes and numbers, and the attributes that it reads, in order.

A refusal is mostly the answer to the last question.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.audit.making.sizes import Asked, Number, Question, Sizes, asked_at, asked_by, note, now

__all__ = ["Asked", "asking", "traced"]


_INDEXES = (Tensor.__getitem__, Tensor.__setitem__, Tensor.__iter__)
_SAME_SIZES = (Tensor.clone, Tensor.contiguous, Tensor.detach, Tensor.to, Tensor.float)


class _Asking(TorchFunctionMode):
    """Answers questions about the sizes of the arguments with numbers that know where they come from."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self._names = names
        self._copies: list[Tensor] = []  # their ids stand in the names

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call of torch, or one read of a tensor's attribute."""
        name = self._names.get(id(args[0]), "") if args else ""
        by_index = func in _INDEXES or (func is Tensor.size and len(args) > 1)
        if name and by_index:  # before the call: an index asks for a rank, and may be refused
            note(Question("sizes", asked_at(), name))
        result = func(*args, **(kwargs or {}))
        if not name:
            return result
        if func in _SAME_SIZES:
            self._copies.append(result)
            self._names[id(result)] = name
        read = getattr(func, "__self__", None) if getattr(func, "__name__", "") == "__get__" else func
        if read in (Tensor.dtype, Tensor.element_size):
            note(Question("dtype", asked_at(), name, names=asked_by().f_globals))
        if read is Tensor.shape or (read is Tensor.size and isinstance(result, torch.Size)):
            return self._sizes(name, result)
        return self._number(read, name, args, result)

    def _sizes(self, name: str, result: Any) -> Sizes:
        note(Question("sizes", asked_at(), name))
        made = Sizes(Number(size, ("size", name, place)) for place, size in enumerate(result))
        made.name = name
        return made

    def _number(self, read: Any, name: str, args: Any, result: Any) -> Any:
        if read in (Tensor.dim, Tensor.ndim):
            return Number(result, ("rank", name, 0))
        if read in (Tensor.size, Tensor.__len__) and isinstance(result, int):
            note(Question("sizes", asked_at(), name))
            place = args[1] % args[0].dim() if len(args) > 1 else 0
            return Number(result, ("size", name, int(place)))
        return result


def traced(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments with numbers that know their names."""
    return {name: Number(value, ("number", name, 0)) if type(value) is int else value for name, value in given.items()}


@contextmanager
def asking(asked: Asked, given: dict[str, Any]) -> Iterator[None]:
    """Inside a ``with`` block, note what is asked of these tensors, and of the numbers that ``traced`` gave."""
    now.append(asked)
    try:
        with _Asking({id(value): name for name, value in given.items() if isinstance(value, Tensor)}):
            yield
    finally:
        now.pop()
