"""Folding: what a layer's constants decide is decided, and its short methods are put in place of their calls."""

import ast
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch

from harness.repro.flat.syntax import NotFlat, Substitute, function_of, is_self, stored_attributes, stored_names

_SCALARS = (bool, int, float, str, type(None))
_TRIVIAL = (ast.Name, ast.Constant)
# Where a statement cannot be put before: it may run another time, or never.
_DEFERRED = (ast.Lambda, ast.IfExp, ast.BoolOp, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)


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


class Folder(ast.NodeTransformer):
    """Folds one method. ``kept`` collects the methods that stay methods, ``functions`` those whose globals are needed."""

    def __init__(self, layer: Layer, kind: type, kept: "dict[str, tuple[type, str]]", functions: list[Any]) -> None:
        self.layer, self.kind, self.kept, self.functions = layer, kind, kept, functions
        self.before: list[ast.stmt] = []
        self.names: set[str] = set()
        self.known: dict[str, ast.Constant] = {}
        self.once: list[str] = []
        self.values: set[str] = set()  # locals that are not None
        self.deferred = 0

    def method(self, name: str) -> ast.FunctionDef:
        """The folded method of this name in the folder's class."""
        function = vars(self.kind)[name]
        self.functions.append(function)
        node = function_of(function)
        self.names |= {argument.arg for argument in node.args.args} | set(stored_names(node.body))
        self.once = stored_names(node.body)
        node.body = tidy(self.body(node.body)) or [ast.Pass()]
        return node

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Statements folded one after the other, each behind those that it needs; nothing after a return."""
        done: list[ast.stmt] = []
        for statement in statements:
            outer, self.before = self.before, []
            result = self.visit(statement)
            new = result if isinstance(result, list) else [result] if result is not None else []
            done += [*self.before, *new]
            self.before = outer
            if done and isinstance(done[-1], ast.Return):
                break
        return done

    def visit_If(self, node: ast.If) -> Any:
        """Take the branch that is decided."""
        node.test = self.visit(node.test)
        if isinstance(node.test, ast.Constant):
            return self.body(node.body if node.test.value else node.orelse)
        node.body, node.orelse = self.body(node.body) or [ast.Pass()], self.body(node.orelse)
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        """A local that is a constant is known from here on."""
        self.generic_visit(node)
        target = node.targets[0]
        if isinstance(target, ast.Name) and _is_value(node.value) and self.once.count(target.id) == 1:
            self.values.add(target.id)
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Constant) and self.once.count(target.id) == 1:
            self.known[target.id] = node.value
            return None
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Name) and target.id == node.value.id:
            return None
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A local that is known."""
        return self.known.get(node.id, node) if isinstance(node.ctx, ast.Load) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """A constant of the layer."""
        if is_self(node.value) and isinstance(node.ctx, ast.Load):
            return self.layer.constant(node.attr) or node
        return self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Take the branch that is decided."""
        node.test = self.visit(node.test)
        if isinstance(node.test, ast.Constant):
            branch: ast.AST = self.visit(node.body if node.test.value else node.orelse)
            return branch
        return self._deferred(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Decide a comparison of constants, or whether a tensor is None."""
        left = node.left
        self.generic_visit(node)
        own = isinstance(left, ast.Attribute) and is_self(left.value) and self.layer.is_tensor(left.attr)
        by_none = isinstance(node.ops[0], ast.Is | ast.IsNot) and isinstance(node.comparators[0], ast.Constant)
        if by_none and (own or self._never_none(node.left)):
            return ast.Constant(isinstance(node.ops[0], ast.IsNot))
        return _decided(node, node.left, *node.comparators)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """Decide ``not``."""
        self.generic_visit(node)
        return _decided(node, node.operand) if isinstance(node.op, ast.Not) else node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """Decide ``and`` and ``or`` as far as their first parts are constants."""
        parts = [self.visit(part) for part in node.values]
        stops = isinstance(node.op, ast.Or)
        while len(parts) > 1 and isinstance(parts[0], ast.Constant):
            if bool(parts[0].value) == stops:
                return ast.Constant(parts[0].value)
            parts.pop(0)
        if len(parts) == 1:
            only: ast.AST = parts[0]
            return only
        node.values = parts
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """What it holds runs later."""
        return self._deferred(node)

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        """What it holds runs often."""
        return self._deferred(node)

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        """Fold inside."""
        return self.generic_visit(node)

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

    def _deferred(self, node: Any) -> ast.AST:
        self.deferred += 1
        self.generic_visit(node)
        self.deferred -= 1
        return node  # type: ignore[no-any-return]

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
        folder.values = {p for p, a in zip(parameters, call.args, strict=True) if self._never_none(a)} - set(
            folder.once
        )
        folder.deferred = self.deferred
        kept_before = dict(self.kept)
        body = folder.body(node.body)
        if not _straight(body) or (self.deferred and len(body) > 1):
            self.kept.clear()
            self.kept.update(kept_before)
            return None
        self.functions.append(function)
        return self._placed(body, parameters, call.args)

    def _placed(self, body: list[ast.stmt], parameters: list[str], arguments: list[ast.expr]) -> ast.expr | None:
        """The body's statements put before the current one, under names of their own; its result."""
        values: dict[str, ast.expr] = {}
        statements: list[ast.stmt] = []
        assigned = set(stored_names(body))
        for parameter, argument in zip(parameters, arguments, strict=True):
            uses = sum(isinstance(n, ast.Name) and n.id == parameter for top in body for n in ast.walk(top))
            simple = isinstance(argument, _TRIVIAL) or uses < 2
            if simple and parameter not in assigned:
                values[parameter] = argument
            elif self.deferred:
                return None
            else:
                values[parameter] = ast.Name(self._fresh(parameter), ast.Load())
                statements.append(ast.Assign([ast.Name(values[parameter].id, ast.Store())], argument))  # type: ignore[attr-defined]
        for name in dict.fromkeys(stored_names(body)):
            values.setdefault(name, ast.Name(self._fresh(name), ast.Load()))
        placed = [Substitute({key: deepcopy(value) for key, value in values.items()}).visit(part) for part in body]
        self.before += [*statements, *placed[:-1]]
        result = placed[-1].value
        return result if result is not None else ast.Constant(None)

    def _never_none(self, node: ast.expr) -> bool:
        return _is_value(node) or (isinstance(node, ast.Name) and node.id in self.values)

    def _fresh(self, name: str) -> str:
        """A name for a local that is not taken."""
        fresh = next(
            text for text in (name, *(f"{name}_{number}" for number in range(2, 99))) if text not in self.names
        )
        self.names.add(fresh)
        return fresh

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


def _is_value(node: ast.expr) -> bool:
    """Whether an expression is certainly not None: arithmetic, a part of something, a function of torch."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return isinstance(node.func.value, ast.Name) and node.func.value.id in ("functional", "torch")
    return isinstance(node, ast.BinOp | ast.Subscript | ast.Tuple)


def tidy(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements without locals that only pass a value on to the next statement."""
    done: list[ast.stmt] = []
    for place, statement in enumerate(body):
        before = done[-1] if done else None
        passes_on = isinstance(statement, ast.Assign | ast.Return) and isinstance(statement.value, ast.Name)
        if passes_on and isinstance(before, ast.Assign) and isinstance(before.targets[0], ast.Name):
            assert isinstance(statement, ast.Assign | ast.Return)
            name = before.targets[0].id
            if (
                isinstance(statement.value, ast.Name)
                and statement.value.id == name
                and not _read(name, body[place + 1 :])
            ):
                statement.value = before.value
                done.pop()
        done.append(statement)
    return done


def _read(name: str, statements: list[ast.stmt]) -> bool:
    nodes = [node for top in statements for node in ast.walk(top) if isinstance(node, ast.Name)]
    first = next((node for node in nodes if node.id == name), None)
    return first is not None


def _straight(body: list[ast.stmt]) -> bool:
    """Whether statements return once, at their end."""
    returns = [node for top in body for node in ast.walk(top) if isinstance(node, ast.Return)]
    return bool(body) and isinstance(body[-1], ast.Return) and len(returns) == 1


def _decided(node: ast.expr, *parts: ast.expr) -> ast.expr:
    """The value of an expression of constants alone."""
    if all(isinstance(part, ast.Constant) for part in parts):
        code = compile(ast.fix_missing_locations(ast.Expression(node)), "<fold>", "eval")
        return ast.Constant(eval(code, {"__builtins__": {}}))
    return node


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
