"""Tensors and bounded caches that a layer can reach: through attributes, containers, submodules, closures and its module."""

import functools
import sys
from collections.abc import Iterable, Iterator
from types import CellType
from typing import Any

from torch import Tensor

from harness.execution.members import members_of
from harness.execution.memory.wrapped import parts_of
from harness.ops.registry import registered

# Levels of nesting. Deeper objects belong to libraries rather than to the layer, and there are many of them.
_MAX_DEPTH = 6


def reachable_tensors(thing: object, depth: int = _MAX_DEPTH, visited: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor that a layer can reach in ``depth`` steps, each once."""
    visited = set() if visited is None else visited
    if id(thing) in visited or not depth or isinstance(thing, str | int | float | type | None):
        return
    visited.add(id(thing))
    if isinstance(thing, Tensor):
        yield from (part for _, part in parts_of("", thing))
        return
    deeper = depth - (not isinstance(thing, tuple | CellType))  # a closure, a tuple of cells, is not a level of nesting
    for part in _contents(thing):
        yield from reachable_tensors(part, deeper, visited)


def _contents(thing: Any) -> Iterator[object]:
    """An object's members, and the items of a tuple or a set, which ``members_of`` leaves out."""
    if isinstance(thing, tuple | set):
        yield from thing
    yield from (value for _, value, _ in members_of(thing))


_CACHE_DEPTH = 4
_OURS = ("torch", "builtins", "typing", "abc")


def bounded_caches(layer: object, ops: Iterable[str] = ()) -> list[Any]:
    """Those of ``caches_of`` that have a largest size, and free what they hold for other keys beyond it."""
    return [cache for cache in caches_of(layer, ops) if cache.cache_parameters()["maxsize"] is not None]


def caches_of(layer: object, ops: Iterable[str] = ()) -> list[Any]:
    """Each ``functools.lru_cache`` within reach of a layer, of its class and module, and of the modules of its ops."""
    found: dict[int, Any] = {}
    for thing in (*_parts(layer, _CACHE_DEPTH, set()), *_in_modules(layer, ops)):
        if isinstance(thing, functools._lru_cache_wrapper):
            found[id(thing)] = thing
    return list(found.values())


def tables_of(layer: object, ops: Iterable[str] = ()) -> list[dict[Any, Any]]:
    """Each dictionary of the class of a layer, of its module, and of the modules of its ops: a cache that is written by hand."""
    found: dict[int, dict[Any, Any]] = {}
    for thing in _in_modules(layer, ops):
        if isinstance(thing, dict) and not {"__name__", "__builtins__"} & thing.keys():  # which are those of modules
            found[id(thing)] = thing
    return list(found.values())


def _parts(thing: object, depth: int, visited: set[int]) -> Iterator[object]:
    if id(thing) in visited or not depth or isinstance(thing, str | int | float | type | None):
        return
    visited.add(id(thing))
    yield thing
    if not isinstance(thing, functools._lru_cache_wrapper):
        for _, part, _ in members_of(thing):
            yield from _parts(part, depth - 1, visited)


def _in_modules(layer: object, ops: Iterable[str]) -> Iterator[object]:
    kinds = [kind for kind in type(layer).__mro__ if kind.__module__.partition(".")[0] not in _OURS]
    for kind in kinds:
        yield from vars(kind).values()
        yield from vars(sys.modules.get(kind.__module__, object)).values()
    known = registered()
    for real in {real for name in ops if name in known for real in known[name].reals.values()}:
        yield from getattr(real, "__globals__", {}).values()
