"""Bounded caches that a layer uses: each ``functools.lru_cache`` with a largest size, which frees what it holds for other keys."""

import functools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from harness.execution.members import members_of
from harness.ops.registry import registered

_MAX_DEPTH = 4
_OURS = ("torch", "builtins", "typing", "abc")


def bounded_caches(layer: object, ops: Iterable[str] = ()) -> list[Any]:
    """The bounded caches within reach of a layer, of its class and module, and of the modules of its ops."""
    found: dict[int, Any] = {}
    for thing in (*_reachable(layer, _MAX_DEPTH, set()), *_in_modules(layer, ops)):
        if isinstance(thing, functools._lru_cache_wrapper) and thing.cache_parameters()["maxsize"] is not None:
            found[id(thing)] = thing
    return list(found.values())


def _reachable(thing: object, depth: int, visited: set[int]) -> Iterator[object]:
    if id(thing) in visited or not depth or isinstance(thing, str | int | float | type | None):
        return
    visited.add(id(thing))
    yield thing
    if not isinstance(thing, functools._lru_cache_wrapper):
        for _, part, _ in members_of(thing):
            yield from _reachable(part, depth - 1, visited)


def _in_modules(layer: object, ops: Iterable[str]) -> Iterator[object]:
    kinds = [kind for kind in type(layer).__mro__ if kind.__module__.partition(".")[0] not in _OURS]
    for kind in kinds:
        yield from vars(kind).values()
        yield from vars(sys.modules.get(kind.__module__, object)).values()
    known = registered()
    for real in {real for name in ops if name in known for real in known[name].reals.values()}:
        yield from getattr(real, "__globals__", {}).values()
