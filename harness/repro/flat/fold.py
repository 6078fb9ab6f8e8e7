"""Folding: what a layer's constants decide is decided, and its short methods are put in place of their calls."""

import ast
from typing import Any

from harness.repro.flat.decisions import Decisions
from harness.repro.flat.layer import Layer
from harness.repro.flat.placing import placed_body
from harness.repro.flat.syntax import function_of, is_self, stored_names
from harness.repro.flat.tidy import is_straight, tidy


class Folder(Decisions):
    """Folds one method. ``kept`` collects the methods that stay methods, ``functions`` those whose globals are needed."""

    def __init__(self, layer: Layer, kind: type, kept: "dict[str, tuple[type, str]]", functions: list[Any]) -> None:
        super().__init__(layer)
        self.kind, self.kept, self.functions = kind, kept, functions
        self.before: list[ast.stmt] = []
        self.names: set[str] = set()

    def method(self, name: str) -> ast.FunctionDef:
        """The folded method of this name in the folder's class."""
        function = vars(self.kind)[name]
        self.functions.append(function)
        node = function_of(function)
        self.names |= {argument.arg for argument in node.args.args} | set(stored_names(node.body))
        self.once = stored_names(node.body)
        node.body = tidy(self.body(node.body)) or [ast.Pass()]
        return node

    def placed(self, statement: ast.stmt) -> list[ast.stmt]:
        """A statement behind those that it needs: the bodies of methods that it calls."""
        outer, self.before = self.before, []
        new = super().placed(statement)
        new, self.before = [*self.before, *new], outer
        return new

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Put a method of the layer in place of its call, or keep it as a method."""
        target = self._target(node.func)
        if target is None:
            self.generic_visit(node)
            node.args = [part for argument in node.args for part in _spread(argument)]
            return node
        node.args = [self.visit(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        kind, name = target
        return self._inlined(kind, name, node) or self._kept(kind, name, node)

    def _target(self, func: ast.expr) -> tuple[type, str] | None:
        """The method that is called: ``self.name`` or ``super().name``."""
        if not isinstance(func, ast.Attribute):
            return None
        by_super = isinstance(func.value, ast.Call) and isinstance(func.value.func, ast.Name)
        if by_super and func.value.func.id == "super":  # type: ignore[attr-defined]
            found = self.layer.method(func.attr, self.kind)
        else:
            found = self.layer.method(func.attr) if is_self(func.value) else None
        return (found[0], func.attr) if found else None

    def _inlined(self, kind: type, name: str, call: ast.Call) -> ast.expr | None:
        """The expression that a call stands for; None where the method has to remain one."""
        function = vars(kind)[name]
        node = function_of(function)
        parameters = [argument.arg for argument in node.args.args][1:]
        if call.keywords or node.args.vararg or node.args.kwarg or len(call.args) != len(parameters):
            return None
        folder = Folder(self.layer, kind, self.kept, self.functions)
        folder.names, folder.once = self.names | set(parameters) | set(stored_names(node.body)), stored_names(node.body)
        constants = {p: a for p, a in zip(parameters, call.args, strict=True) if isinstance(a, ast.Constant)}
        folder.known = {p: a for p, a in constants.items() if p not in folder.once}
        folder.values = {p for p, a in zip(parameters, call.args, strict=True) if self.never_none(a)} - set(folder.once)
        folder.deferred = self.deferred
        kept_before = dict(self.kept)
        body = folder.body(node.body)
        if not is_straight(body) or (self.deferred and len(body) > 1):
            self.kept.clear()
            self.kept.update(kept_before)
            return None
        self.functions.append(function)
        placed = placed_body(body, dict(zip(parameters, call.args, strict=True)), self.names, bool(self.deferred))
        if placed is None:
            return None
        self.before += placed[0]
        return placed[1]

    def _kept(self, kind: type, name: str, call: ast.Call) -> ast.Call:
        """The call of a method that stays one. A base's gets a name of its own."""
        own = name if self.layer.method(name) == (kind, vars(kind)[name]) else f"{name}_of_{kind.__name__}"
        if own not in self.kept:
            self.kept[own] = (kind, name)
        call.func = ast.Attribute(ast.Name("self", ast.Load()), own, ast.Load())
        return call


def _spread(argument: ast.expr) -> list[ast.expr]:
    """The parts of ``*(a, b)``."""
    if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Tuple):
        return argument.value.elts
    return [argument]
