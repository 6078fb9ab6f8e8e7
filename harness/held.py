"""Memory that a layer holds, however it keeps it: attributes, containers, submodules, what a function closes over."""

from collections.abc import Iterator
from types import CellType
from typing import Any

from torch import Tensor

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
    for part in _parts(thing):
        yield from held_tensors(part, deepest - 1, met)


def _parts(thing: Any) -> list[object]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple | set):
        return list(thing)
    slots = [getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ())]
    cells = [_content(cell) for cell in getattr(thing, "__closure__", None) or ()]
    return [*getattr(thing, "__dict__", {}).values(), *slots, *cells, getattr(thing, "__self__", None)]


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None
