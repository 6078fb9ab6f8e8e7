"""A layer's ``forward`` with the methods that it keeps, folded."""

import ast
from typing import Any

from harness.repro.flat.fold import Folder
from harness.repro.flat.layer import Layer
from harness.repro.flat.syntax import NotFlat


def flattened(layer: Layer) -> tuple[list[ast.FunctionDef], list[Any]]:
    """``forward`` and the methods that it keeps, folded, and every function that they come from. Raises NotFlat."""
    found = layer.method("forward")
    if found is None:
        raise NotFlat("the layer has no forward of its own")
    kept: dict[str, tuple[type, str]] = {"forward": (found[0], "forward")}
    functions: list[Any] = []
    done: dict[str, ast.FunctionDef] = {}
    while waiting := [name for name in kept if name not in done]:
        kind, name = kept[waiting[0]]
        node = Folder(layer, kind, kept, functions).method(name)
        node.name = waiting[0]
        done[waiting[0]] = node
    return [ast.fix_missing_locations(node) for node in done.values()], functions
