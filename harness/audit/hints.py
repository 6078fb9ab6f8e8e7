"""What the source of an op names: strings and ints that its arguments are compared with, and sizes."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import FunctionType, ModuleType
from typing import Any

import torch

from harness.audit.ops import fake_function
from harness.audit.registrations import implementations

_DEPTH = 3  # calls to follow
_SIZES = range(4, 8193)
_MOST_SIZES = 12


@dataclass(slots=True)
class Hints:
    """``values``: for each argument, the constants that it is compared with. ``sizes``: sizes to try, ``asked`` by the user too.

    ``python`` says whether an implementation is written in Python. One that is not may not check its arguments.
    """

    values: dict[str, list[str | int]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    asked: tuple[int, ...] = ()
    python: bool = False


def hints_of(op: torch._ops.OpOverload, asked: tuple[int, ...] = ()) -> Hints:
    """The hints of an op's Python implementations and of its fake."""
    reals, fake = implementations(op), fake_function(op)
    hints = Hints(asked=asked, python=bool(reals))
    order = [argument.name for argument in op._schema.arguments]
    for function in [*reals, *([fake] if fake else [])]:
        _read(function, {name: name for name in order}, hints, order, _DEPTH)
    hints.sizes = hints.sizes[:_MOST_SIZES]
    return hints


def values_of(function: Callable[..., Any]) -> dict[str, list[str | int]]:
    """For each parameter of a function, the constants with which its source compares it."""
    hints, names = Hints(), list(inspect.signature(function).parameters)
    _read(function, {name: name for name in names}, hints, names, _DEPTH)
    return hints.values


def _read(function: Any, names: dict[str, str], hints: Hints, order: list[str], depth: int) -> None:
    """Add what a function names. ``names`` maps its parameters to the op's arguments; ``order`` are those, by position."""
    function = inspect.unwrap(function)
    tree = _tree(function) if isinstance(function, FunctionType) else None
    if tree is None:
        return
    scope = _scope(function)
    parameters = list(inspect.signature(function).parameters)
    if order:  # an implementation may call its parameters by other names than the schema does
        names = dict(zip(parameters, order, strict=False))
    for node in ast.walk(tree):
        for argument, value in _compared(node, names, scope):
            known = hints.values.setdefault(argument, [])
            known += [value] if value not in known else []
        hints.sizes += [size for size in _sizes(node, scope) if size not in hints.sizes]
        if isinstance(node, ast.Call) and depth:
            callee = _value(node.func, scope)
            if isinstance(callee, FunctionType) and not str(callee.__module__).startswith("torch"):
                _read(callee, _passed(node, callee, names), hints, [], depth - 1)


def _tree(function: Callable[..., Any]) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # built by exec, or a lambda in the middle of a statement
        return None


def _scope(function: FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    enclosed: dict[str, Any] = {}
    for name, cell in cells:
        try:
            enclosed[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return {**function.__globals__, **enclosed}


def _passed(call: ast.Call, callee: FunctionType, names: dict[str, str]) -> dict[str, str]:
    """The callee's parameters that are given one of the op's arguments as it is."""
    parameters = callee.__code__.co_varnames[: callee.__code__.co_argcount + callee.__code__.co_kwonlyargcount]
    given = [*zip(parameters, call.args, strict=False), *((word.arg or "", word.value) for word in call.keywords)]
    return {name: names[value.id] for name, value in given if isinstance(value, ast.Name) and value.id in names}


def _compared(node: ast.AST, names: dict[str, str], scope: Mapping[str, Any]) -> Iterator[tuple[str, str | int]]:
    """(argument, constant) for each constant that decides something about an argument."""
    sides: list[ast.AST] = []
    if isinstance(node, ast.Compare):  # a bound, as in `size > 0`, may be where the op's promise ends
        bound = any(isinstance(one, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for one in node.ops)
        sides = [] if bound else [node.left, *node.comparators]
    elif isinstance(node, ast.Subscript):
        sides = [node.value, node.slice]
    elif isinstance(node, ast.Match):
        patterns = [part for case in node.cases for part in ast.walk(case.pattern)]
        sides = [node.subject, *(part.value for part in patterns if isinstance(part, ast.MatchValue))]
    arguments = [names[side.id] for side in sides if isinstance(side, ast.Name) and side.id in names]
    others = [side for side in sides if not (isinstance(side, ast.Name) and side.id in names)]
    if isinstance(node, ast.Subscript):  # a table of cases, such as {"relu": ...}[kind]; a number would be an index
        arguments = arguments if isinstance(node.slice, ast.Name) and node.slice.id in names else []
    for argument in arguments:
        yield from ((argument, constant) for other in others for constant in _constants(other, scope))


def _constants(node: ast.AST, scope: Mapping[str, Any]) -> list[str | int]:
    if isinstance(node, ast.Dict):
        return [constant for key in node.keys if key is not None for constant in _constants(key, scope)]
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return [constant for part in node.elts for constant in _constants(part, scope)]
    value = _value(node, scope)
    values = list(value) if isinstance(value, (tuple, list, set, frozenset, dict)) else [value]
    plain = [one.value if isinstance(one, Enum) else one for one in values]
    return [one for one in plain if type(one) in (str, int)]


def _value(node: ast.AST, scope: Mapping[str, Any]) -> Any:
    """What an expression of constants, names and attributes of modules or enums stands for; None if unknown."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return scope.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, scope)
        return getattr(owner, node.attr, None) if isinstance(owner, (ModuleType, type)) else None
    return None


def _sizes(node: ast.AST, scope: Mapping[str, Any]) -> list[int]:
    """Sizes on both sides of a number that the source compares with, or divides by."""
    if isinstance(node, ast.Compare):
        numbers = [one for side in (node.left, *node.comparators) for one in _constants(side, scope)]
        return [size for one in numbers if isinstance(one, int) and one in _SIZES for size in (one, one + 1)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.FloorDiv)):
        divisors = [one for one in _constants(node.right, scope) if isinstance(one, int) and one in _SIZES]
        return [size for one in divisors for size in (2 * one, 2 * one + 1)]
    return []
