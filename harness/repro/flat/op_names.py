"""Custom ops by their names: ``torch.ops.ns.name`` in place of what a package calls an op."""

import ast
from typing import Any

import torch

from harness.ops.registry import RegisteredOp


class OpNames(ast.NodeTransformer):
    """Puts ``torch.ops.ns.name`` in place of each op of ``scope``, and adds its name to ``ops``."""

    def __init__(self, ops: dict[str, None], scope: dict[str, Any]) -> None:
        self.ops, self.scope = ops, scope

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``op.overload``."""
        if isinstance(node.value, ast.Name) and isinstance(self.scope.get(node.value.id), RegisteredOp):
            return self._op(self.scope[node.value.id].name)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A registered op or an overload under a name."""
        value = self.scope.get(node.id)
        if isinstance(value, RegisteredOp):
            return self._op(value.name)
        return self._op(value._schema.name) if isinstance(value, torch._ops.OpOverload) else node

    def _op(self, name: str) -> ast.expr:
        self.ops[name] = None
        return op_expression(name)


class OpsOfLayer(ast.NodeTransformer):
    """Puts ``torch.ops.ns.name`` in place of each op that a layer has as an attribute, and adds its name to ``ops``."""

    def __init__(self, ops: dict[str, None], layer: torch.nn.Module) -> None:
        self.ops, self.layer = ops, layer

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``self.op``."""
        of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
        value = getattr(self.layer, node.attr, None) if of_self else None
        if isinstance(value, torch._ops.OpOverload):
            self.ops[value._schema.name] = None
            return op_expression(value._schema.name)
        return self.generic_visit(node)


def op_expression(name: str) -> ast.expr:
    """``torch.ops.ns.name`` of ``ns::name``."""
    return ast.parse(f"torch.ops.{name.replace('::', '.')}", mode="eval").body
