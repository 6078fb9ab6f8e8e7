"""The registration of a custom op in a script: its schema, its implementation and its fake."""

import ast
import re
from collections.abc import Callable
from typing import Any

import torch

from harness.ops.registry import RegisteredOp, registered
from harness.repro.flat.globals import Globals
from harness.repro.flat.syntax import NotFlat, function_of, lambda_of

_LINE = 108


def registration(name: str, device: str, found: Globals, shapes_only: bool) -> str:
    """Text that registers an op; its functions are added to ``found``. Raises NotFlat on an op of another registry.

    ``shapes_only``: where the kernel has a short text, the fake stands in for it, since it gives the same shapes.
    """
    op = registered().get(name)
    if op is None or device not in op.reals:
        raise NotFlat(f"{name} is registered elsewhere")
    namespace, _, short = name.partition("::")
    fake = _fake(op, found)
    real = op.reals[device]
    stands_in = shapes_only and getattr(real, "__code__", None) in found.short and fake.isidentifier()
    kernel = fake if stands_in else _function(real, found)
    comment = "  # its shapes alone matter here" if stands_in else ""
    return "\n".join(
        [
            f'{short}_library = torch.library.Library("{namespace}", "FRAGMENT")',
            f"{short}_library.define({_schema(short + op.schema)})",
            f'{short}_library.impl("{short}", {kernel}, "{device.upper()}"){comment}',
            f'torch.library.register_fake("{name}", {fake}, lib={short}_library)',
        ]
    )


def _schema(text: str) -> str:
    """A schema as a text of several short lines."""
    pieces, line = [], ""
    for word in re.split(r"(?<=, )", text):
        if len(line) + len(word) > _LINE:
            pieces.append(line)
            line = ""
        line += word
    return "\n    ".join(f'"{piece}"' for piece in (*pieces, line))


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
