"""The add of a residual, by its form: what goes into a sublayer is added to what the sublayer gives."""

import ast
import re

from harness.diagnosis.statements.parts import parsed

_SUBLAYER = re.compile(
    r"(?:^|[._])(?:mlp|ffn?|feed_?forward|moe|experts|self_attn|attn|attention|mixer|block|sub_?layer|drop\w*)\d?$",
    re.I,
)
# What sums outputs of experts or of ranks is no residual's add.
_NO_SUBLAYER = re.compile(r"shared|rout|combine|reduce|gather|bias|pad|torch|functional|^F\.|zeros|ones", re.I)


def is_residual(code: str) -> bool:
    """Whether a line adds what a sublayer gives to what goes on: ``x = x + self.mlp(t)``, ``h += self.ffn(self.norm(h))``."""
    tree = parsed(code)
    return tree is not None and any(_is_residual(node) for node in ast.walk(tree))


def _is_residual(node: ast.AST) -> bool:
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        return _gives(node.value, ast.unparse(node.target))
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return False
    value, target = node.value, ast.unparse(node.targets[0])
    if not isinstance(value, ast.BinOp) or not isinstance(value.op, ast.Add):
        return False
    sides = (value.left, value.right)
    return any(ast.unparse(one) == target and _gives(other, target) for one, other in (sides, sides[::-1]))


def _gives(node: ast.expr, target: str) -> bool:
    """Whether an operand is a call of a sublayer: one that has such a name, or a module's own that takes the target."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
        return False
    name = ast.unparse(node.func)
    if _NO_SUBLAYER.search(name) or name.startswith(f"{target}."):
        return False
    takes = any(ast.unparse(one) == target for arg in node.args for one in ast.walk(arg) if isinstance(one, ast.expr))
    return bool(_SUBLAYER.search(name)) or (takes and name.startswith("self.") and "expert" not in name)
