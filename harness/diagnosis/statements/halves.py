"""Two factors at a line that are slices: which of them is cut to a width, and which runs to the end of its tensor."""

import ast

from harness.diagnosis.statements.parts import parsed


def ends_of(code: str) -> tuple[str, str]:
    """How each side of the one product at a line ends: ``cut``, ``open`` or empty where it is no slice; empty for no such line.

    Open is a slice that has a beginning and no end, ``h[:, n:]``; a plain ``h[:, :]`` is neither.
    """
    tree = parsed(code)
    found = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
    products = [node for node in found if isinstance(node.op, ast.Mult)]
    return (_end(products[0].left), _end(products[0].right)) if len(products) == 1 else ("", "")


def _end(node: ast.expr) -> str:
    """How the last dimension of the slices in an expression ends; empty where they differ, or there is none."""
    slices = [part for one in ast.walk(node) if isinstance(one, ast.Subscript) for part in _last(one)]
    ends = {"cut" if part.upper else "open" if part.lower else "" for part in slices}
    return ends.pop() if len(ends) == 1 else ""


def _last(node: ast.Subscript) -> list[ast.Slice]:
    last = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
    return [last] if isinstance(last, ast.Slice) else []
