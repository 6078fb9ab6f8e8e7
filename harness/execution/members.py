"""Members: everything that an object holds, found through attributes, containers, slots, closures and bound methods.

A *leaf* is a value that holds no other: a tensor, a number, a flag, a name. Its *path* is the chain of member names that
leads to it from the root.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Path = tuple[str, ...]
Visit = Callable[[Path, Any], Any]
Member = tuple[str, Any, Callable[[Any], None]]
"""(name, value, a function that puts another value in its place)"""

# Objects that hold nothing which the build of a layer decides.
_OPAQUE = (type, types.ModuleType, types.BuiltinFunctionType, torch._ops.OpOverload, torch._ops.OpOverloadPacket)
_LEAVES = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.memory_format, Tensor)


def walk(root: Any, visit: Visit, shared: frozenset[int] = frozenset()) -> tuple[Any, set[int]]:
    """Replace every leaf below ``root`` by what ``visit(path, leaf)`` returns. Returns the root and the ids of all objects met.

    Objects whose id is in ``shared`` are not entered. Tuples are rebuilt; all other objects are changed in place.
    """
    walker = _Walker(visit, shared)
    return walker.visit((), root), set(walker.met)


class _Walker:
    def __init__(self, visit: Visit, shared: frozenset[int]) -> None:
        self._visit_leaf, self._shared = visit, shared
        self.met: dict[int, Any] = {}  # holds the objects, since an id is unique only while its object lives

    def visit(self, path: Path, value: Any) -> Any:
        if isinstance(value, _LEAVES):
            return self._visit_leaf(path, value)
        if id(value) in self._shared or id(value) in self.met or isinstance(value, _OPAQUE):
            return value
        self.met[id(value)] = value
        # The class counts as a leaf: two layers of different classes have different structures.
        self._visit_leaf((*path, "__class__"), type(value).__qualname__)
        return self._tuple(path, value) if isinstance(value, tuple) else self._members(path, value)

    def _tuple(self, path: Path, value: Any) -> Any:
        items = [self.visit((*path, str(index)), item) for index, item in enumerate(value)]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    def _members(self, path: Path, value: Any) -> Any:
        for name, member, replace in members_of(value):
            new = self.visit((*path, name), member)
            if new is not member:
                replace(new)
        return value


def members_of(value: Any) -> list[Member]:
    """The members of an object. The items of a tuple are left out, since they cannot be replaced in place."""
    if isinstance(value, dict):
        return [(str(key), item, functools.partial(value.__setitem__, key)) for key, item in list(value.items())]
    if isinstance(value, list):
        return [(str(index), item, functools.partial(value.__setitem__, index)) for index, item in enumerate(value)]
    if isinstance(value, types.CellType):
        return _cell(value)
    attributes = [
        (name, getattr(value, name), functools.partial(object.__setattr__, value, name)) for name in _names(value)
    ]
    return attributes + _dictionary(value)


def _cell(cell: types.CellType) -> list[Member]:
    try:
        return [("cell", cell.cell_contents, functools.partial(setattr, cell, "cell_contents"))]
    except ValueError:  # an empty cell
        return []


def _names(value: Any) -> list[str]:
    """Attributes that are not in ``__dict__``: slots, a function's closure and defaults, a method's object."""
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


def _dictionary(value: Any) -> list[Member]:
    attributes = getattr(value, "__dict__", None)
    return members_of(attributes) if isinstance(attributes, dict) else []
