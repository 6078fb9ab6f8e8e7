"""Decisions: what a layer's constants decide is decided, branches and comparisons."""

import ast
from typing import Any

from harness.repro.flat.layer import Layer
from harness.repro.flat.syntax import is_self


class Decisions(ast.NodeTransformer):
    """Takes the branches that are decided. ``known`` are locals that are constants, ``values`` locals that are not None.

    ``once`` holds each local once for every statement that assigns to it. ``deferred`` is above 0 inside of what runs later.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.known: dict[str, ast.Constant] = {}
        self.once: list[str] = []
        self.values: set[str] = set()
        self.deferred = 0

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Statements, decided one after the other; nothing after a return."""
        done: list[ast.stmt] = []
        for statement in statements:
            done += self.placed(statement)
            if done and isinstance(done[-1], ast.Return):
                break
        return done

    def placed(self, statement: ast.stmt) -> list[ast.stmt]:
        """What one statement becomes."""
        result = self.visit(statement)
        return result if isinstance(result, list) else [result] if result is not None else []

    def never_none(self, node: ast.expr) -> bool:
        """Whether an expression is certainly not None."""
        return _is_value(node) or (isinstance(node, ast.Name) and node.id in self.values)

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
        if by_none and (own or self.never_none(node.left)):
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

    def _deferred(self, node: Any) -> ast.AST:
        self.deferred += 1
        self.generic_visit(node)
        self.deferred -= 1
        return node  # type: ignore[no-any-return]


def _is_value(node: ast.expr) -> bool:
    """Whether an expression is certainly not None: arithmetic, a part of something, a function of torch."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return isinstance(node.func.value, ast.Name) and node.func.value.id in ("functional", "torch")
    return isinstance(node, ast.BinOp | ast.Subscript | ast.Tuple)


def _decided(node: ast.expr, *parts: ast.expr) -> ast.expr:
    """The value of an expression of constants alone."""
    if all(isinstance(part, ast.Constant) for part in parts):
        code = compile(ast.fix_missing_locations(ast.Expression(node)), "<fold>", "eval")
        return ast.Constant(eval(code, {"__builtins__": {}}))
    return node
