"""Rows that a line takes by a mask: how many there are depends on the data."""

import ast
import re

from harness.diagnosis.statements.factors import is_method, named
from harness.diagnosis.statements.parts import parsed

_MASK = re.compile(r"(?:^|_)masks?(?:_|\d|$)|Mask$")
# Functions and methods that give a tensor of booleans.
_TRUTHS = re.compile(
    r"(?:eq|ne|gt|ge|lt|le|greater\w*|less\w*|not_equal|isin|isnan|isinf|isfinite|isclose|logical_\w+|bool)_?"
)
_KEEPS = frozenset(
    ("to", "clone", "contiguous", "view", "reshape", "flatten", "squeeze", "unsqueeze", "expand", "cuda", "detach")
)
_LOGIC = (ast.BitAnd, ast.BitOr, ast.BitXor)


def takes_by_mask(code: str) -> bool:
    """Whether a line takes rows by a mask: ``x[mask]``, ``x[ids[x] == e]``, ``x[~done, 0]``, ``x.masked_select(m)``.

    Whatever the mask is made of, and also where tensors are written there; a number is written without the count of the rows.
    """
    tree = parsed(code)
    if tree is None:
        return False
    numbers = {id(target) for node in ast.walk(tree) for target in _numbered(node)}
    return any(_takes(node) for node in ast.walk(tree) if id(node) not in numbers)


def counts_rows_of_data(code: str) -> bool:
    """Whether a line asks where something holds, with an argument alone: ``torch.where(ids[x, 0] == e)``, ``(a > 0).nonzero()``."""
    tree = parsed(code)
    calls = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(_asks_where(call) for call in calls)


def _asks_where(call: ast.Call) -> bool:
    if named(call) == "where":
        given = len(call.args) + len([keyword for keyword in call.keywords if keyword.arg != "as_tuple"])
        return given + is_method(call) == 1
    return named(call) in ("nonzero", "argwhere", "nonzero_static")


def _numbered(node: ast.AST) -> list[ast.expr]:
    """The targets of an assignment of a number."""
    return node.targets if isinstance(node, ast.Assign) and isinstance(_plain(node.value), ast.Constant) else []


def _plain(node: ast.expr) -> ast.expr:
    return node.operand if isinstance(node, ast.UnaryOp) else node


def _takes(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return named(node) == "masked_select"
    if not isinstance(node, ast.Subscript):
        return False
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return any(_is_mask(part) for part in parts)


def _is_mask(node: ast.expr) -> bool:
    """Whether an index is a tensor of booleans: by a comparison of tensors, by its operators, or by its name."""
    if isinstance(node, ast.Compare):
        return not isinstance(node.ops[0], ast.Is | ast.IsNot | ast.In | ast.NotIn)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, _LOGIC):
        return _is_mask(node.left) or _is_mask(node.right)
    if isinstance(node, ast.NamedExpr):
        return _is_mask(node.value)
    if isinstance(node, ast.Call):
        return _is_mask_called(node)
    if isinstance(node, ast.Subscript):
        return _is_mask(node.value)
    return bool(_MASK.search(getattr(node, "attr", getattr(node, "id", ""))))


def _is_mask_called(call: ast.Call) -> bool:
    """Whether a call gives booleans, or the mask that it is called on in another form."""
    if _TRUTHS.fullmatch(named(call)):
        return True
    of = call.func.value if isinstance(call.func, ast.Attribute) else None
    if named(call) == "to" and any(ast.unparse(arg) in ("bool", "torch.bool") for arg in call.args):
        return True
    return of is not None and named(call) in _KEEPS and _is_mask(of)
