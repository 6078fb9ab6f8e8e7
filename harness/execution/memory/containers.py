"""How many entries the containers of a layer hold: its own, its submodules', its class's and those of the modules of its code."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from harness.ops.registry import registered

_CONTAINERS = (list, dict, set, deque)
_LIBRARIES = ("torch", "builtins", "typing", "abc", "harness")


def entries_of(layer: object, ops: Iterable[str]) -> dict[str, int]:
    """The number of entries by the container's name, those of containers inside it included."""
    return {name: _count(value) for name, value in _containers(layer, ops)}


def _count(container: Any) -> int:
    inside = container.values() if isinstance(container, dict) else container
    return len(container) + sum(len(one) for one in tuple(inside) if isinstance(one, _CONTAINERS))


def _containers(layer: object, ops: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for owner, members in (*_modules(layer), *_surroundings(layer, ops)):
        for name, value in tuple(members.items()):
            if isinstance(value, _CONTAINERS) and not name.startswith("__"):
                yield f"{owner}.{name}", value


def _modules(layer: object) -> Iterator[tuple[str, dict[str, Any]]]:
    modules = layer.named_modules() if isinstance(layer, torch.nn.Module) else [("", layer)]
    for path, module in modules:
        yield f"the layer{path and '.'}{path}", getattr(module, "__dict__", {})


def _surroundings(layer: object, ops: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The layer's classes, and the modules of these and of its ops' implementations."""
    kinds = [kind for kind in type(layer).__mro__ if _is_users(kind.__module__)]
    known = registered()
    reals = [real for name in ops if name in known for real in known[name].reals.values()]
    names = {one.__module__ for one in (*kinds, *reals, layer) if _is_users(getattr(one, "__module__", None))}
    yield from ((kind.__qualname__, dict(vars(kind))) for kind in kinds)
    yield from ((name, vars(sys.modules[name])) for name in sorted(names) if name in sys.modules)


def _is_users(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] not in _LIBRARIES
