"""The products at a line: the two factors of each, and what one of them adds."""

import ast
import re

from harness.diagnosis.statements.parts import parsed

# Products that add something: their first argument, or the tensor whose method is called.
_FUSED = re.compile(r"(?:addmm|addmv|baddbmm|addbmm|sspaddmm|_addmm_activation)_?")
_PRODUCTS = re.compile(
    r"mm|bmm|mv|matmul|linear|einsum|dot|vdot|inner|tensordot|contract|_?grouped_mm|_?scaled_mm|_int_mm|smm|hspmm"
)
_MODULES = frozenset(("torch", "F", "functional", "aten", "ops", "nn", "np", "oe", "einops"))
_OVERLOADS = frozenset(("default", "out", "Tensor"))
_FACTORS = ("mat1", "batch1", "mat", "mat2", "batch2", "vec", "other", "weight")
# What a product's bias is called: unlike any other addend it is of the same part as the weight.
BIAS = re.compile(r"bias|\bb\d*\b|\bb_\w+|_b$", re.I)
_OF_VECTORS = frozenset(("mv", "addmv", "addmv_"))


def named(call: ast.Call) -> str:
    """The function or method of a call, without the overload of an op: addmm of ``torch.ops.aten.addmm.default(...)``."""
    func = call.func
    if isinstance(func, ast.Attribute) and func.attr in _OVERLOADS and isinstance(func.value, ast.Attribute):
        func = func.value
    return str(getattr(func, "attr", getattr(func, "id", "")))


def adds_a_tensor(code: str) -> bool:
    """Whether what the product at a line adds is an activation by its name, and no bias: ``addmm(shared, x, w)``."""
    tree = parsed(code)
    calls = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [added for call in calls if adds(call) and (added := addend_of(call)) is not None]
    return len(found) == 1 and isinstance(found[0], ast.Name) and not BIAS.search(found[0].id)


def factors(code: str) -> list[tuple[ast.expr, ast.expr]]:
    """The two factors of each product at a line, left and right; none of one whose factors the line does not both show."""
    tree = parsed(code)
    pairs = [] if tree is None else [factors_of(node) for node in ast.walk(tree)]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def takes_vector(code: str) -> bool:
    """Whether the product at a line is of a matrix and a vector, in this order."""
    tree = parsed(code)
    return tree is not None and any(
        isinstance(node, ast.Call) and named(node) in _OF_VECTORS for node in ast.walk(tree)
    )


def is_method(call: ast.Call) -> bool:
    """Whether a call is of a tensor's method, and not of a function of a module."""
    func = call.func
    if not isinstance(func, ast.Attribute):
        return False
    root = func.value
    while isinstance(root, ast.Attribute):
        root = root.value
    return not (isinstance(root, ast.Name) and root.id in _MODULES)


def given_to(call: ast.Call) -> list[ast.expr]:
    """The tensors of a call in their order: the one whose method it is, the arguments, and those that are named."""
    own = [call.func.value] if is_method(call) and isinstance(call.func, ast.Attribute) else []
    args = [part for arg in call.args for part in (arg.elts if isinstance(arg, ast.List | ast.Tuple) else [arg])]
    by_name = {keyword.arg: keyword.value for keyword in call.keywords}
    named_ones = [by_name[name] for name in ("input", *_FACTORS) if name in by_name]
    return [part for part in (*own, *args, *named_ones) if not isinstance(part, ast.Constant)]


def adds(call: ast.Call) -> bool:
    """Whether a call is of a product that adds something, as addmm does."""
    return bool(_FUSED.fullmatch(named(call)))


def addend_of(call: ast.Call) -> ast.expr | None:
    """What such a call adds; None where the line does not show it."""
    given = given_to(call)
    return given[0] if given else None


def factors_of(node: ast.AST) -> list[ast.expr]:
    """The factors of a product that a node is, as far as the line shows them; none of any other node."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return [node.left, node.right]
    if not isinstance(node, ast.Call):
        return []
    given = given_to(node)
    if adds(node):
        return given[1:3]
    return given[:2] if _PRODUCTS.fullmatch(named(node)) and len(given) >= 2 else []
