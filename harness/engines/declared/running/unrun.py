"""A declaration that was not run, since it is for another platform or machine: read from the names of its module."""

import ast
import sys
from collections.abc import Callable, Sequence
from typing import Any

from harness.engines.declared.running.recorded import Recorded
from harness.engines.declared.running.recorders import shaped
from harness.engines.declared.source.scan import Declared

Function = Callable[..., Any]


def read(declared: Declared, every: Sequence[Declared]) -> Recorded | None:
    """A declaration that was not run, since it is for another platform or machine: its functions, from its module's names."""
    names = vars(sys.modules[declared.module])
    node = declared.node
    try:
        if isinstance(node, ast.Call):
            return _from_call(declared, node, names)
        if isinstance(node, ast.FunctionDef) and not declared.function:
            fakes = [one.node for one in every if not one.real and one.op == declared.op and one.file == declared.file]
            fake = next((_defined(one, names, declared) for one in fakes if isinstance(one, ast.FunctionDef)), None)
            real, given = _defined(node, names, declared), _values(_keywords(node), names, declared)
            return Recorded(declared.op, real, given.get("mutates_args", ()), shaped(real, given) or fake)
    except Exception:  # a name that only the other platform has
        return None
    return None


def _from_call(declared: Declared, node: ast.Call, names: dict[str, Any]) -> Recorded | None:
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    function = given.get("op_func") or (node.args[1] if len(node.args) > 1 else None)
    if function is None:
        return None
    real, values = _value(function, names, declared), _values(given, names, declared)
    return Recorded(declared.op, real, values.get("mutates_args", ()), shaped(real, values))


def _values(given: dict[str, ast.expr], names: dict[str, Any], declared: Declared) -> dict[str, Any]:
    """What is written, and what the fake is or is like."""
    return {
        name: _value(given[name], names, declared)
        for name in ("mutates_args", "fake_impl", "out_shape")
        if name in given
    }


def _value(node: ast.expr, names: dict[str, Any], declared: Declared) -> Any:
    return eval(compile(ast.Expression(node), names["__file__"], "eval"), names)


def _defined(node: ast.FunctionDef, names: dict[str, Any], declared: Declared) -> Function:
    """The function of a definition that was not run, without its decorators."""
    fields: dict[str, Any] = {name: getattr(node, name, None) for name in node._fields}
    bare = ast.FunctionDef(**fields | {"decorator_list": []})
    module = ast.Module([ast.copy_location(bare, node)], [])
    scope: dict[str, Any] = {}
    exec(compile(module, names["__file__"], "exec"), names, scope)
    made: Function = scope[node.name]
    return made


def _keywords(node: ast.FunctionDef) -> dict[str, ast.expr]:
    """What the decorators of a definition are given by name."""
    calls = [decorator for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
    return {keyword.arg: keyword.value for call in calls for keyword in call.keywords if keyword.arg}
