"""Whether the rows of the tensors at a line are the batch's tokens: those of a weight, or of one expert's slice, are not."""

import ast
import re

from harness.diagnosis.facts import Facts
from harness.diagnosis.readers.weights.adapters import is_adapters
from harness.diagnosis.statements.factors import factors
from harness.diagnosis.statements.names import words_of
from harness.diagnosis.statements.parts import parsed
from harness.diagnosis.statements.shown import sizes_named
from harness.diagnosis.statements.weights import is_weight

# One expert out of all, as a loop over them has it: self.w2[e](...), experts[i](x), expert.down(x).
_ONE = re.compile(
    r"\[(?:e|eid|e_?id|expert\w{0,20}|local_e\w{0,10})\]|\bexperts?\w{0,20}\[\w{1,20}\]|(?<![\w.])expert(?:_layer|_mlp)?[.(]",
    re.I,
)
_WEIGHT_WORDS = frozenset(("weight", "weights", "qweight", "param", "params", "shard", "w13", "w31", "loaded"))
_NOT_MATRICES = frozenset(("topk", "router", "routing", "norm", "score", "scores"))
# Rows that were taken out of the batch, or put in another order: one expert's, with as many filled up.
_SOME = re.compile(r"(?<![a-z])(?:rows|slices?|chunks?|gathered|permuted|sorted|dispatched)(?![a-z])", re.I)
# Sizes of a reshape that count no tokens.
_NO_BATCH = re.compile(r"^\d+$|top_?k|heads?|experts?|groups?|shard|weight|param|w13|inter", re.I)
_CALLERS = 3


def rows_are_tokens(facts: Facts) -> bool:
    """Whether nothing at the user's line, or at the lines that led to it, says that the rows are of a weight or of one expert."""
    if any(_ONE.search(frame.code) for frame in facts.users[-_CALLERS:]):
        return False
    if "want" in facts.match.groups and _NO_BATCH.search("".join(sizes_named(facts.code)[-2:-1])):
        return False
    pairs = factors(facts.code)
    if any(is_weight(left) or _is_adapters(left) or _SOME.search(ast.unparse(left)) for left, _ in pairs):
        return False
    return bool(pairs) or not _on_weights(facts.code)


def _is_adapters(node: ast.expr) -> bool:
    """Whether a factor is an adapter's own matrix, and not what one gave."""
    return is_adapters(ast.unparse(node)) and not factors(ast.unparse(node))


def _on_weights(code: str) -> bool:
    """Whether a line works on weights alone: both sides of a sum or a product, what is added to or written to, by their names."""
    tree = parsed(code)
    return tree is not None and any(_is_of_weights(node) for node in ast.walk(tree))


def _is_of_weights(node: ast.AST) -> bool:
    if isinstance(node, ast.AugAssign):
        return _named(node.target)
    if isinstance(node, ast.BinOp):
        return _named(node.left) and _named(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.endswith("_"):
        return _named(node.func.value)
    return False


def _named(node: ast.expr) -> bool:
    """Whether an expression has a name of a weight, and none of a router's or of a norm."""
    names = [str(getattr(n, "attr", getattr(n, "id", ""))) for n in ast.walk(node)]
    words = {word for name in names for word in (*words_of(name), *name.lower().split("_"))}
    return bool(words & _WEIGHT_WORDS) and not words & _NOT_MATRICES
