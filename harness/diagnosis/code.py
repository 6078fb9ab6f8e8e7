"""What a line of the user's code does: the operation in which two tensors meet, as far as the line alone shows it."""

import ast
import re

from harness.diagnosis.statements.parts import REST, ends_open, is_part, parsed

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.MatMult: "matmul",
    ast.Pow: "pow",
    ast.Mod: "remainder",
    ast.FloorDiv: "floor_divide",
}
_METHODS = re.compile(
    r"(?:add|sub|mul|div|copy|lerp|addcmul|index_add|index_copy|scatter|masked_fill)_?|where|maximum|minimum|matmul|mm|bmm"
    r"|baddbmm|addmm|einsum|linear|cat|stack|expand|_?grouped_mm"
)
_SCALES = re.compile(r"(?:add|sub|mul|div)_?")
_SIZE = re.compile(r"\bshape\b|\bsize\b|\blen\(|\bndim\b|\bdim\(")
_MODULES, _LONGEST = frozenset(("torch", "F", "functional")), 40
_COLUMN = re.compile(r"None\]$|unsqueeze\((?:dim=)?(?:-1|1)\)$|keepdim=True\)$")
_ACTIVATION = re.compile(r"silu|gelu|swiglu|relu|sigmoid|\bact_fn\b|activation|\bup\b", re.I)
_ATTENTION = re.compile(
    r"attn|attention|\b(?:q|query|queries)\b.*\b(?:k|keys?|kt|scores|mask|cos|sin|scale|scaling)\b"
    r"|\b(?:k|keys?|cos|sin|rotate_half)\b.*\b(?:q|query|queries)\b|\bk\b.*\bv\b|\bkeys?\b.*\bvalues?\b"
    r"|causal|rope|rotary|rotate_half|\bcos\b.*\bsin\b|\bsin\b.*\bcos\b"
    r"|\b(?:probs?|scores)(?: ?@ ?|, ?)(?:x?v|values?)(?:_states)?\b|['\"][a-z]{0,2}h?qk,|\bb(?:[qk]h|h[qk])d\b"
)
# Routers, samplers, searches and dictionaries have these too: they count where the file or the function is of attention.
_PERHAPS_ATTENTION = re.compile(r"\b(?:q|query|queries|k|v|keys?|values?|scores?|cos|sin)\b|softmax")


def operations(code: str) -> frozenset[str]:
    """The operations of tensors in a line: add, mul, cat, ...; none where the line cannot be read or has none that is known.

    A factor or a summand that is a number, or a name in capitals, is no tensor.
    """
    tree = parsed(code)
    if tree is None:
        return frozenset()
    found = frozenset(name for node in ast.walk(tree) if (name := _named(node)))
    return found or frozenset("a comparison" for node in ast.walk(tree) if _compares(node))


def operands(code: str, count: int) -> tuple[str, ...]:
    """The operands of the one operation in a line that has so many, as they are written; none where no or several have."""
    tree = parsed(code)
    cut = is_part(code) and not ends_open(code)  # the last name may be cut, too
    nodes = [] if tree is None or cut else [node for node in ast.walk(tree) if _named(node)]
    found = [parts for parts in (_of_width(node, _operands(node), count) for node in nodes) if len(parts) == count]
    if len(found) != 1:
        return ()
    written = tuple("" if (name := ast.unparse(part)) == REST else name for part in found[0])
    return written if all(len(part) <= _LONGEST for part in written) else ()


def _operands(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.AugAssign):
        return [node.target, node.value]
    if not isinstance(node, ast.Call):
        return []
    if node.args and isinstance(node.args[0], ast.List | ast.Tuple):  # cat, stack
        return list(node.args[0].elts)
    of = getattr(node.func, "value", None)
    method = of is not None and getattr(of, "id", "") not in _MODULES
    return [*([of] if method and isinstance(of, ast.expr) else []), *node.args]


def _of_width(node: ast.AST, parts: list[ast.expr], count: int) -> list[ast.expr]:
    """The operands but for a mask of one column, where one is too many: it has no width of its own."""
    masked = _named(node) == "where" and len(parts) == count + 1 == 3
    return parts[1:] if masked and _COLUMN.search(ast.unparse(parts[0])) else parts


def is_activation(code: str) -> bool:
    """Whether the line multiplies gate by up."""
    return "mul" in operations(code) and bool(_ACTIVATION.search(code))


def is_attention(code: str) -> bool:
    """Whether the line names what attention alone computes with: queries, keys beside values, rotary tables."""
    return bool(_ATTENTION.search(code))


def may_be_attention(code: str) -> bool:
    """Whether the line has a name that attention shares with routers and samplers: scores, softmax, key, value."""
    return bool(_PERHAPS_ATTENTION.search(code))


def _named(node: ast.AST) -> str:
    """The operation of one node; empty for none, or where one side is a number."""
    if isinstance(node, ast.BinOp) and not (_is_number(node.left) or _is_number(node.right)):
        return _OPERATORS.get(type(node.op), "")
    if isinstance(node, ast.AugAssign) and not _is_number(node.value):
        return _OPERATORS.get(type(node.op), "")
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        scaled = _SCALES.fullmatch(name) and node.args and _is_number(node.args[-1])
        return name if _METHODS.fullmatch(name) and not scaled else ""
    return ""


def _compares(node: ast.AST) -> bool:
    """Whether two tensors are compared: neither side is a number or a size."""
    if not isinstance(node, ast.Compare) or isinstance(node.ops[0], ast.Is | ast.IsNot | ast.In | ast.NotIn):
        return False
    sides = (node.left, node.comparators[0])
    return not any(_is_number(side) or _SIZE.search(ast.unparse(side)) for side in sides)


def _is_number(node: ast.AST) -> bool:
    """Whether an operand is a plain number, by itself or by a name that factors have."""
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    name = getattr(node, "attr", getattr(node, "id", ""))
    return isinstance(node, ast.Constant) or name.isupper() or name.endswith(("factor", "scaling", "eps"))
