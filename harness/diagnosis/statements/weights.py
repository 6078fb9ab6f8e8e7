"""Which expressions are weights, and of which projection of a layer."""

import ast
import re

from harness.diagnosis.statements.factors import factors, takes_vector
from harness.diagnosis.statements.names import GATE, is_of_shared, projection_of, says_weight

_OWNERS = frozenset(("self", "layer", "layers", "module", "mod", "m", "block", "mlp", "expert", "experts"))
_ACTIVATIONS = re.compile(r"hidden|buf|staging|input|state|out|\bact|cache|scratch|workspace", re.I)
_INDEX = re.compile(r"(?:e|i|j|idx|eid|index|expert\w*|e_?id|local_e\w*)$", re.I)
_VIEWS = frozenset(("T", "mT", "H", "data"))
SHARED = "shared expert"


def weight_named(node: ast.expr, in_place: bool = True) -> str:
    """The projection whose weight an expression is, past indices, views and casts; ``in_place`` where a weight stands there."""
    names = _names(node)
    if any(is_of_shared(name) for name in names) and (in_place or is_weight(node)):
        return SHARED
    return _projection(node, names, in_place)


def is_weight(node: ast.expr) -> bool:
    """Whether an expression is a weight by its name, or as a tensor that a module holds."""
    names = _names(node)
    if not names or _projection(node, names, in_place=False):
        return bool(names)
    held = len(names) > 1 and names[0] in _OWNERS
    return says_weight(names[-1]) or (held and not _ACTIVATIONS.search(names[-1]))


def left_is_weight(code: str) -> bool:
    """Whether the left factor of the one product at a line is the weight, by its names or by the operation."""
    found = factors(code)
    if len(found) != 1:
        return False
    left, right = found[0]
    return takes_vector(code) if is_weight(left) == is_weight(right) else is_weight(left)


def is_of_one(node: ast.expr) -> bool:
    """Whether an expression takes one expert's weight out of all: ``self.w_down[e]``, ``self.experts[i].down.weight``."""
    slices = [part.slice for part in ast.walk(node) if isinstance(part, ast.Subscript)]
    return any(isinstance(one, ast.Name | ast.Attribute) and _INDEX.search(ast.unparse(one)) for one in slices)


def _projection(node: ast.expr, names: list[str], in_place: bool) -> str:
    """The projection that the last of the names tells which tells one."""
    found = [projection_of(name, len(names) > 1 or in_place) for name in reversed(names)]
    return next(filter(None, found), GATE if "gate" in names and is_of_one(node) else "")


def _names(node: ast.expr) -> list[str]:
    """The names that lead to a tensor, the outermost first: self, experts, down_proj, weight."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_names(node.value), *([] if node.attr in _VIEWS else [node.attr])]
    if isinstance(node, ast.Subscript):
        return [*_names(node.value), *_key(node.slice)]
    return _of_call(node) if isinstance(node, ast.Call) else []


def _key(index: ast.expr) -> list[str]:
    """The name in ``weights["w_down"]``."""
    return [index.value] if isinstance(index, ast.Constant) and isinstance(index.value, str) else []


def _of_call(call: ast.Call) -> list[str]:
    """The names of the tensor whose method is called, else of the first argument: ``self.w2.t()``, ``self.dequant(self.w2)``."""
    of = _names(call.func.value) if isinstance(call.func, ast.Attribute) else []
    if of and (of[-1] not in (*_OWNERS, "torch", "F") or not call.args):
        return of
    return _names(call.args[0]) if call.args else []
