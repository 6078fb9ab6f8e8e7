"""A product with the scales of a quantised weight, as its names tell."""

import ast
import re

from harness.diagnosis.statements.parts import parsed

# Scales of blocks by their own names, and names that are those of quantised weights where the text has words of such.
_OF_BLOCKS = re.compile(
    r"(?:block|weight|w\d+)_?scales?(?![a-z])|scales?_inv|(?<![A-Za-z0-9])(?:sf|sf[ab]|[ab]_sf|w\d*_sf)(?![A-Za-z0-9])",
    re.I,
)
_SCALES = re.compile(r"(?<![A-Za-z])scales?(?![A-Za-z])", re.I)
_CALLS = re.compile(r"(?:mul|multiply|div|divide)_?")


def scales_in(code: str, quantised: bool) -> bool:
    """Whether a line names scales of blocks; ``quantised`` where its text has words of formats that have such."""
    return bool(_OF_BLOCKS.search(code) or (quantised and _SCALES.search(code)))


def scaled_side(code: str) -> int | None:
    """Which operand of the innermost product has the scales, 0 or 1; None where the line does not tell."""
    tree = parsed(code)
    sides = [] if tree is None else [side for node in ast.walk(tree) for side in _side(node)]
    return sides[-1] if sides else None


def _side(node: ast.AST) -> list[int]:
    parts: list[ast.expr] = []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        parts = [node.left, node.right]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _CALLS.fullmatch(node.func.attr):
        parts = ([] if ast.unparse(node.func.value) == "torch" else [node.func.value]) + node.args[:2]
    has = [bool(_OF_BLOCKS.search(text) or _SCALES.search(text)) for text in map(ast.unparse, parts[:2])]
    return [has.index(True)] if len(has) == 2 and sum(has) == 1 else []
