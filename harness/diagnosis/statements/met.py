"""What meets in a product at a line: its factors, and not what is only added to them or holds the result."""

import ast
import re

from harness.diagnosis.statements.factors import BIAS, addend_of, adds, factors_of, given_to, named
from harness.diagnosis.statements.parts import parsed


def met(code: str) -> str:
    """A line without what is only added to a product in it, and without where the result goes; as it is where nothing is.

    ``y = torch.addmm(shared, x, w)`` and ``y = shared + x @ w`` have x and w alone. A bias stays: it is of the weight's part.
    """
    tree = parsed(code)
    if tree is None:
        return code
    cutter, inner = _Cutter(), _body(tree)
    cut = cutter.visit(inner)
    return ast.unparse(ast.fix_missing_locations(cut)) if cutter.dropped or inner is not tree else code


def _body(tree: ast.AST) -> ast.AST:
    """What a function of one line does, without its name and its arguments; any other line as it is."""
    first = tree.body[0] if isinstance(tree, ast.Module) and len(tree.body) == 1 else None
    return ast.Module(first.body, []) if isinstance(first, ast.FunctionDef) else tree


def _holds_product(node: ast.AST) -> bool:
    """Whether a product can be in an operand: a call is in it, or the operator of one."""
    return any(
        isinstance(part, ast.Call) or (isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult))
        for part in ast.walk(node)
    )


class _Cutter(ast.NodeTransformer):
    """Leaves the factors of products, and says whether anything was dropped."""

    def __init__(self) -> None:
        self.dropped = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A product without its addend, and a sum's method without the side that holds none."""
        kept = [keyword for keyword in node.keywords if keyword.arg != "out"]
        self.dropped |= len(kept) < len(node.keywords)
        node.keywords = kept
        if adds(node):
            return self._fused(node)
        if re.fullmatch(r"(?:add|sub)_?", named(node)) and (sides := given_to(node))[1:]:
            return self._sum(node, sides[0], sides[1])
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """A sum without the side that holds no product."""
        if isinstance(node.op, ast.Add | ast.Sub):
            return self._sum(node, node.left, node.right)
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """A sum into a name without that name."""
        if isinstance(node.op, ast.Add | ast.Sub) and _holds_product(node.value):
            self.dropped = True
            return ast.Expr(self.visit(node.value))
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """What is assigned alone, where something was dropped of it: the name is of the sum, then."""
        before, self.dropped = self.dropped, False
        value = self.visit(node.value)
        cut, self.dropped = self.dropped, self.dropped or before
        node.value = value
        return ast.Expr(value) if cut else node

    def _fused(self, node: ast.Call) -> ast.AST:
        added, kept = addend_of(node), factors_of(node)
        if added is not None and BIAS.search(ast.unparse(added)):
            kept = [added, *kept]
        self.dropped = True
        return ast.Call(ast.Name(named(node)), [self.visit(part) for part in kept], [])

    def _sum(self, node: ast.AST, left: ast.expr, right: ast.expr) -> ast.AST:
        holds = [_holds_product(side) for side in (left, right)]
        bare = right if holds == [True, False] else left
        if sum(holds) != 1 or BIAS.search(ast.unparse(bare)):
            return self.generic_visit(node)
        self.dropped = True
        held: ast.AST = self.visit(left if bare is right else right)
        return held
