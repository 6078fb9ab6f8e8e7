"""Code of an op for the device of the script alone: what ``is_cuda`` decides is decided."""

import ast
from typing import Any


class OnDevice(ast.NodeTransformer):
    """Puts True or False in place of ``x.is_cuda``, and takes the branches that this decides."""

    def __init__(self, device: str) -> None:
        self.device = device

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``x.is_cuda``."""
        self.generic_visit(node)
        return ast.Constant(self.device == "cuda") if node.attr == "is_cuda" else node

    def visit_If(self, node: ast.If) -> Any:
        """Take the branch that is decided."""
        self.generic_visit(node)
        if not isinstance(node.test, ast.Constant):
            return node
        return (node.body if node.test.value else node.orelse) or ast.Pass()

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Take the value that is decided."""
        self.generic_visit(node)
        return node if not isinstance(node.test, ast.Constant) else node.body if node.test.value else node.orelse
