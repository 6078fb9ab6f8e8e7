"""Memory that a layer holds, however it keeps it: attributes, containers, submodules, what a function closes over."""

from collections.abc import Iterator
from types import CellType
from typing import Any

from torch import Tensor

from harness.execution.members import parts

_DEEPEST = 6


def held_tensors(thing: object, deepest: int = _DEEPEST, met: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor within reach of a layer, each once."""
    met = set() if met is None else met
    if id(thing) in met or not deepest or isinstance(thing, str | int | float | type | None):
        return
    met.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing
        return
    deeper = deepest - (not isinstance(thing, tuple | CellType))  # a closure is a tuple of cells
    for part in _parts(thing):
        yield from held_tensors(part, deeper, met)


def _parts(thing: Any) -> Iterator[object]:
    """What an object holds; of a tuple and a set, which the leaves have no other part for, the items."""
    if isinstance(thing, tuple | set):
        yield from thing
    yield from (part for _, part, _ in parts(thing))
