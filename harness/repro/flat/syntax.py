"""Source of Python objects as syntax trees, without docstrings and annotations."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any


class NotFlat(Exception):
    """Something whose source cannot stand in a script by itself. The text says what."""


@cache
def _tree(function: Callable[..., Any]) -> ast.FunctionDef:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError) as error:
        raise NotFlat(f"{getattr(function, '__name__', function)} has no source of its own: {error}") from None
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    if not found or found[0].name != function.__name__:
        raise NotFlat(f"{function.__name__} is not defined by a statement of its own")
    return _bare(found[0])


def function_of(function: Callable[..., Any]) -> ast.FunctionDef:
    """A fresh copy of a function's tree, bare. Raises NotFlat."""
    copy: ast.FunctionDef = ast.parse(ast.unparse(_tree(function))).body[0]  # type: ignore[assignment]
    return copy


def lambda_of(function: Callable[..., Any]) -> str:
    """The text of a lambda. Raises NotFlat where its line holds several, or none."""
    try:
        lines = inspect.getsource(function).strip()
    except (OSError, TypeError) as error:
        raise NotFlat(f"a lambda has no source: {error}") from None
    start = lines.find("lambda")
    for end in range(len(lines), start, -1):
        try:
            node = ast.parse(lines[start:end], mode="eval").body
        except SyntaxError:
            continue
        if isinstance(node, ast.Lambda) and lines.count("lambda") == 1:
            return ast.unparse(node)
    raise NotFlat("a lambda's text cannot be told from its line")


def _bare(node: ast.FunctionDef) -> ast.FunctionDef:
    """A function without decorators, annotations, docstrings, and without annotations of locals."""
    node = _Bare().visit(node)
    node.decorator_list = []
    return node


class _Bare(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in (
            *node.args.posonlyargs,
            *node.args.args,
            *node.args.kwonlyargs,
            node.args.vararg,
            node.args.kwarg,
        ):
            if argument is not None:
                argument.annotation = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        assign = ast.Assign(targets=[node.target], value=node.value)
        return self.generic_visit(ast.copy_location(assign, node))


def stored_names(nodes: Iterable[ast.AST]) -> list[str]:
    """The local names that statements assign to, once for each time."""
    walked = [node for top in nodes for node in ast.walk(top)]
    return [node.id for node in walked if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def stored_attributes(node: ast.AST) -> set[str]:
    """The attributes of ``self`` that a function assigns to."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and is_self(part.value)
    }


def is_self(node: ast.AST) -> bool:
    """Whether an expression is ``self``."""
    return isinstance(node, ast.Name) and node.id == "self"


class Substitute(ast.NodeTransformer):
    """Replaces names: those that are read by an expression, those that are assigned by another name."""

    def __init__(self, values: dict[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Replace one."""
        value = self.values.get(node.id)
        if value is None or (isinstance(node.ctx, ast.Store) and not isinstance(value, ast.Name)):
            return node
        return ast.copy_location(ast.Name(value.id, node.ctx) if isinstance(value, ast.Name) else value, node)
