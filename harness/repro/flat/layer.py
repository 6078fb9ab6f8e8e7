"""A built layer: the constants that decide its branches, and its methods by the order of its bases."""

import ast
from collections.abc import Callable
from typing import Any

import torch

from harness.repro.flat.syntax import function_of, stored_attributes

_SCALARS = (bool, int, float, str, type(None))


class Layer:
    """A built layer: its constants, and its methods by the order of its bases."""

    def __init__(self, layer: torch.nn.Module) -> None:
        self.layer = layer
        self.order = [kind for kind in type(layer).__mro__ if kind not in torch.nn.Module.__mro__]
        methods = [value for kind in self.order for name, value in vars(kind).items() if _is_method(name, value)]
        self.changing = {name for method in methods for name in stored_attributes(function_of(method))}

    def constant(self, name: str) -> ast.Constant | None:
        """The value of an attribute or property that no method changes, if it is a number, a text or None."""
        value = getattr(self.layer, name, self)
        return ast.Constant(value) if name not in self.changing and isinstance(value, _SCALARS) else None

    def is_tensor(self, name: str) -> bool:
        """Whether an attribute is a tensor, and remains one."""
        return name not in self.changing and isinstance(getattr(self.layer, name, None), torch.Tensor)

    def method(self, name: str, after: type | None = None) -> tuple[type, Callable[..., Any]] | None:
        """The method of this name, and the class that defines it; after a class in the order, for ``super()``."""
        order = self.order[self.order.index(after) + 1 :] if after else self.order
        for kind in order:
            if name in vars(kind):
                value = vars(kind)[name]
                return (kind, value) if _is_method(name, value) else None
        return None


def _is_method(name: str, value: Any) -> bool:
    return callable(value) and hasattr(value, "__code__") and name != "__init__"
