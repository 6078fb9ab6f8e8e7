"""Tensors that a layer can reach: through attributes, containers, submodules, and what its functions close over."""

from collections.abc import Iterator
from types import CellType
from typing import Any

from torch import Tensor

from harness.execution.members import members_of

# Levels of nesting. Deeper objects belong to libraries rather than to the layer, and there are many of them.
_MAX_DEPTH = 6


def reachable_tensors(thing: object, depth: int = _MAX_DEPTH, visited: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor that a layer can reach in ``depth`` steps, each once."""
    visited = set() if visited is None else visited
    if id(thing) in visited or not depth or isinstance(thing, str | int | float | type | None):
        return
    visited.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing
        return
    deeper = depth - (not isinstance(thing, tuple | CellType))  # a closure, a tuple of cells, is not a level of nesting
    for part in _contents(thing):
        yield from reachable_tensors(part, deeper, visited)


def _contents(thing: Any) -> Iterator[object]:
    """An object's members, and the items of a tuple or a set, which ``members_of`` leaves out."""
    if isinstance(thing, tuple | set):
        yield from thing
    yield from (value for _, value, _ in members_of(thing))
