"""The globals that folded functions need: imports, constants, functions by their source."""

import ast
import builtins
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from harness.ops.registry import RegisteredOp
from harness.repro.flat.device import OnDevice
from harness.repro.flat.op_names import OpNames
from harness.repro.flat.syntax import NotFlat, function_of, stored_names

_PLAIN = (bool, int, float, str, type(None))


class Globals:
    """Collects what functions refer to. ``short`` maps functions to text that stands for them; ``device`` is the script's."""

    def __init__(self, short: Mapping[Callable[..., Any], str], device: str) -> None:
        self.device = device
        self.short = {_code(function): text for function, text in short.items()}
        self.imports: dict[str, None] = {}
        self.texts: dict[str, str] = {}
        self.ops: dict[str, None] = {}
        self._values: dict[str, Any] = {}

    def resolve(self, nodes: Iterable[ast.FunctionDef], functions: Iterable[Any]) -> None:
        """Add what these trees refer to, by the globals and closures of the functions that they come from. Raises NotFlat."""
        scope: dict[str, Any] = {}
        for function in functions:
            scope |= function.__globals__ | inspect.getclosurevars(function).nonlocals
        for node in nodes:
            for name in _free(node):
                if name in scope:
                    self._add(name, scope[name])
            OpNames(self.ops, scope).visit(node)

    def function(self, function: Callable[..., Any], name: str = "") -> str:
        """The name of a function that the script defines. Raises NotFlat."""
        text = self.short.get(_code(function))
        if text is not None:
            own, _, rest = text.partition("|")
            self.used_in(rest, but=own)
            self.texts.setdefault(own, rest)
            return own
        node: ast.FunctionDef = OnDevice(self.device).visit(function_of(function))
        node.name = name or node.name
        if node.name not in self.texts:
            self.texts[node.name] = ""  # before its globals: it may refer to itself
            self.resolve([node], [function])
            del self.texts[node.name]  # behind those that it refers to
            self.texts[node.name] = ast.unparse(ast.fix_missing_locations(node))
        return node.name

    def used_in(self, text: str, but: str = "") -> None:
        """Add the short functions that a text calls."""
        for short in self.short.values():
            own, _, rest = short.partition("|")
            if own not in (but, *self.texts) and re.search(rf"\b{own}\(", text):
                self.texts[own] = rest

    def _add(self, name: str, value: Any) -> None:
        if isinstance(value, RegisteredOp | torch._ops.OpOverload):
            return
        if name in self._values and self._values[name] is not value:
            raise NotFlat(f"two things are called {name}")
        self._values[name] = value
        if isinstance(value, types.ModuleType):
            self._module(name, value)
        elif _is_foreign(value):
            self.imports[f"from {value.__module__} import {value.__name__}"] = None
        elif isinstance(value, types.FunctionType):
            own = self.function(value)
            if own != name:
                self.texts.setdefault(name, f"{name} = {own}")
        elif isinstance(value, _PLAIN) or (
            isinstance(value, list | tuple) and all(isinstance(v, _PLAIN) for v in value)
        ):
            self.texts.setdefault(name, f"{name} = {value!r}")
        elif not isinstance(value, type):  # a class stands in super(Class, self), which is folded away
            raise NotFlat(f"{name} is a {type(value).__name__}, which has no source")
        elif value.__name__ == name and not issubclass(value, torch.nn.Module):
            raise NotFlat(f"{name} is a class of the subject's")

    def _module(self, name: str, module: types.ModuleType) -> None:
        package, _, last = module.__name__.rpartition(".")
        self.imports[f"from {package} import {last}" if package and last == name else f"import {module.__name__}"] = (
            None
        )


def _code(function: Any) -> Any:
    return getattr(function, "__code__", function)


def _is_foreign(value: Any) -> bool:
    """Whether a value is imported from torch or the standard library."""
    module = getattr(value, "__module__", None) or ""
    top = module.partition(".")[0]
    return hasattr(value, "__name__") and (top == "torch" or top in sys.stdlib_module_names)


def _free(node: ast.FunctionDef) -> list[str]:
    """The names that a function reads and does not define."""
    own = {argument.arg for part in ast.walk(node) if isinstance(part, ast.arguments) for argument in _arguments(part)}
    own |= set(stored_names([node])) | set(dir(builtins))
    read = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)]
    return [name for name in dict.fromkeys(read) if name not in own]


def _arguments(part: ast.arguments) -> list[ast.arg]:
    extra = [argument for argument in (part.vararg, part.kwarg) if argument]
    return [*part.posonlyargs, *part.args, *part.kwonlyargs, *extra]
