"""Tensors that wrap others, as the quantized weights of torchao do: they have no memory of their own."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def wraps_others(tensor: object) -> bool:
    """Whether a tensor only wraps others, which ``torch.compile`` takes in its place."""
    return is_traceable_wrapper_subclass(tensor)


def wrap_others(types: Iterable[type]) -> bool:
    """Whether a tensor class of an op's arguments only wraps others, and is not torch's own.

    A dispatch mode leaves such an op to the class, which calls ops on what it wraps: those are the kernels that run.
    """
    return any(hasattr(kind, "__tensor_flatten__") and not kind.__module__.startswith("torch.") for kind in types)


def parts_of(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor under its name. Of one that wraps others, those in its place, each under the name of its attribute."""
    if not wraps_others(tensor):
        yield name, tensor
        return
    whole: Any = tensor
    for attribute in whole.__tensor_flatten__()[0]:
        yield from parts_of(f"{name}.{attribute}", getattr(whole, attribute))


def with_parts(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A tensor like one that wraps others, with each of those changed. ``change`` must keep shape and dtype."""
    whole: Any = tensor
    names, context = whole.__tensor_flatten__()
    parts = {name: change(getattr(whole, name)) for name in names}
    made: Tensor = whole.__tensor_unflatten__(parts, context, whole.shape, whole.stride())
    return made
