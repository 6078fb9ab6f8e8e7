"""Leaves: what an object holds, wherever it holds it: tensors, numbers, flags and names, each with its path."""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Path = tuple[str, ...]
Visit = Callable[[Path, Any], Any]

# Objects that hold nothing which a layer's build decides.
_OPAQUE = (type, types.ModuleType, types.BuiltinFunctionType, torch._ops.OpOverload, torch._ops.OpOverloadPacket)
_ATOMS = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.memory_format, Tensor)


def walk(root: Any, visit: Visit, shared: frozenset[int] = frozenset()) -> tuple[Any, set[int]]:
    """Visit every leaf below ``root`` and put what the visit returns in its place; the root, and the ids of what was met.

    Objects whose id is in ``shared`` are left alone. Tuples are made anew; everything else is changed where it is.
    """
    walker = _Walker(visit, shared)
    return walker.visit((), root), set(walker.met)


class _Walker:
    def __init__(self, visit: Visit, shared: frozenset[int]) -> None:
        self._leaf, self._shared = visit, shared
        self.met: dict[int, Any] = {}

    def visit(self, path: Path, value: Any) -> Any:
        if isinstance(value, _ATOMS):
            return self._leaf(path, value)
        if id(value) in self._shared or id(value) in self.met or isinstance(value, _OPAQUE):
            return value
        self.met[id(value)] = value
        self._leaf((*path, "__class__"), type(value).__qualname__)  # two classes are two structures
        if isinstance(value, tuple):
            items = [self.visit((*path, str(place)), part) for place, part in enumerate(value)]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        for name, part, put in parts(value):
            new = self.visit((*path, name), part)
            if new is not part:
                put(new)
        return value


def parts(value: Any) -> list[tuple[str, Any, Callable[[Any], None]]]:
    """(name, part, how to put another in its place) of what an object holds; a tuple's items are not told."""
    if isinstance(value, dict):
        return [(str(key), part, functools.partial(value.__setitem__, key)) for key, part in list(value.items())]
    if isinstance(value, list):
        return [(str(place), part, functools.partial(value.__setitem__, place)) for place, part in enumerate(value)]
    if isinstance(value, types.CellType):
        return _cell(value)
    outside = [
        (name, getattr(value, name), functools.partial(object.__setattr__, value, name)) for name in _names(value)
    ]
    return outside + _dictionary(value)


def _cell(cell: types.CellType) -> list[tuple[str, Any, Callable[[Any], None]]]:
    try:
        return [("cell", cell.cell_contents, functools.partial(setattr, cell, "cell_contents"))]
    except ValueError:  # an empty cell
        return []


def _names(value: Any) -> list[str]:
    """Attributes outside of ``__dict__``: slots, a function's closure and defaults, a method's object."""
    if isinstance(value, types.FunctionType):
        return ["__closure__", "__defaults__", "__kwdefaults__"]
    if isinstance(value, types.MethodType):
        return ["__self__", "__func__"]
    if isinstance(value, functools.partial):
        return ["func", "args", "keywords"]
    slots = [slot for kind in type(value).__mro__ for slot in _slots(kind)]
    return [slot for slot in slots if hasattr(value, slot)]


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slot for slot in slots if not slot.startswith("__"))


def _dictionary(value: Any) -> list[tuple[str, Any, Callable[[Any], None]]]:
    held = getattr(value, "__dict__", None)
    return parts(held) if isinstance(held, dict) else []
