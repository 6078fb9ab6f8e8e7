"""A declaration that was not run, since it is for another platform or machine: read from the names of its module."""

import ast
import sys
from collections.abc import Callable, Sequence
from typing import Any

from harness.engines.declared.running.recorded import Recorded
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
            return Recorded(declared.op, _defined(node, names, declared), _mutates(node, names), fake)
    except Exception:  # a name that only the other platform has
        return None
    return None


def _from_call(declared: Declared, node: ast.Call, names: dict[str, Any]) -> Recorded | None:
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    function = given.get("op_func") or (node.args[1] if len(node.args) > 1 else None)
    if function is None:
        return None
    real = _value(function, names, declared)
    mutates = _value(given["mutates_args"], names, declared) if "mutates_args" in given else ()
    fake = _value(given["fake_impl"], names, declared) if "fake_impl" in given else None
    return Recorded(declared.op, real, mutates, fake)


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


def _mutates(node: ast.FunctionDef, names: dict[str, Any]) -> Any:
    for decorator in node.decorator_list:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "mutates_args":
                return eval(compile(ast.Expression(keyword.value), "mutates_args", "eval"), names)
    return ()
