"""The registration of a custom op in a script: its schema, its implementation and its fake."""

import ast
import re
from collections.abc import Callable
from typing import Any

import torch

from harness.ops.registry import RegisteredOp, registered
from harness.repro.flat.globals import Globals
from harness.repro.flat.syntax import NotFlat, function_of, lambda_of

_LINE = 115


def registration(name: str, device: str, found: Globals, fakes: bool, real: bool = True) -> str:
    """Text that registers an op; its functions are added to ``found``. Raises NotFlat on an op of another registry.

    Without ``fakes`` no fake is registered: nothing calls one. Without ``real`` there is no implementation.
    """
    op = registered().get(name)
    if op is None or device not in op.reals:
        raise NotFlat(f"{name} is registered elsewhere")
    fake = _fake(op, found) if fakes else ""
    lines = [_definition(name, op.schema)]
    lines += [f'torch.library.impl("{name}", "{device}", {_function(op.reals[device], found)})'] if real else []
    return "\n".join([*lines, *([f'torch.library.register_fake("{name}", {fake})'] if fakes else [])])


def _definition(name: str, schema: str) -> str:
    """The definition of an op, its schema broken where it is longer than a line."""
    lines, line = list[str](), f'torch.library.define("{name}", "'
    for word in re.split(r"(?<=, )", schema):
        if len(line) + len(word) > _LINE:
            lines.append(f'{line}"')
            line = '    "'
        line += word
    return "\n".join([*lines, f'{line}")'])


def _function(function: Callable[..., Any], found: Globals) -> str:
    """The name of a function, or the text of a lambda."""
    if function.__name__ != "<lambda>":
        return found.function(function)
    text = lambda_of(function)
    holder = ast.parse(f"def holder():\n    return {text}").body[0]
    assert isinstance(holder, ast.FunctionDef)
    found.resolve([holder], [function])
    statement = holder.body[0]
    assert isinstance(statement, ast.Return)
    assert statement.value is not None
    return ast.unparse(ast.fix_missing_locations(statement.value))


def _fake(op: RegisteredOp, found: Globals) -> str:
    """The name of the fake. One that names only some arguments gets those of the schema."""
    if _foreign(op.fake):
        return f"torch.{op.fake.__name__}"
    inner = getattr(op.fake, "__wrapped__", None)
    if inner is None:
        return _function(op.fake, found)
    node = function_of(inner)
    arguments = torch._C.parse_schema("fake::op" + op.schema).arguments
    node.args = ast.parse(f"def f({', '.join(_argument(one) for one in arguments)}): pass").body[0].args  # type: ignore[attr-defined]
    found.resolve([node], [inner])
    found.texts[node.name] = ast.unparse(ast.fix_missing_locations(node))
    return node.name


def _argument(argument: Any) -> str:
    return f"{argument.name}={argument.default_value!r}" if argument.has_default_value() else str(argument.name)


def _foreign(function: Any) -> bool:
    return not hasattr(function, "__code__") or function.__code__.co_filename.startswith(torch.__path__[0])
