"""Comparing the Python signatures of an op's implementations with its schema.

It matters because torch leaves out an argument that equals the schema's default: the Python default then applies.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch

from harness.ops.names import qualified_name
from harness.ops.registry import registered, unwrap_fake

_PLAIN = (bool, int, float, str, type(None))
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def signature_mismatch(func: Any) -> str:
    """How an implementation of an overload differs from its schema, as text; empty where none does or none is in Python."""
    implementations = _implementations(qualified_name(func))
    messages = ((kind, mismatch_with_schema(function, func)) for kind, function in implementations)
    return next((f"its {kind} implementation {message}" for kind, message in messages if message), "")


def _implementations(name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """(``fake`` or ``real``, function) for each Python implementation that torch or the registry knows."""
    own = registered().get(name)
    custom_op: Any = getattr(torch._library.custom_ops, "OPDEFS", {}).get(name)
    kernel = torch._library.simple_registry.singleton.find(name).fake_impl.kernel
    if own:
        yield "fake", own.fake
        yield from (("real", real) for real in own.reals.values())
    elif custom_op is not None and custom_op._abstract_fn:
        yield "fake", custom_op._abstract_fn
    elif custom_op is None and kernel is not None:
        yield "fake", unwrap_fake(kernel.func)


@cache
def mismatch_with_schema(function: Callable[..., Any], func: Any) -> str:
    """How a Python function's signature differs from the schema of the overload it implements; empty where it does not."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in C
        return ""
    arguments = func._schema.arguments
    positional = [argument for argument in arguments if not argument.kwarg_only]
    try:
        bound = signature.bind(
            *positional, **{argument.name: argument for argument in arguments if argument.kwarg_only}
        )
    except TypeError as error:
        return f"does not take the schema's arguments: {error}; it is {function.__name__}{signature}"
    defaults = (_default(signature.parameters[name], argument) for name, argument in bound.arguments.items())
    names = [argument.name for argument in positional]
    return _misordered(names, signature) or next((message for message in defaults if message), "")


def _misordered(expected: list[str], signature: inspect.Signature) -> str:
    """The same names in another order: the dispatcher passes by position, so each would get another one's value."""
    names = [name for name, parameter in signature.parameters.items() if parameter.kind in _POSITIONAL][: len(expected)]
    if names == expected[: len(names)] or sorted(names) != sorted(expected[: len(names)]):
        return ""
    return f"takes {', '.join(names)} in this order; its schema names {', '.join(expected)}"


def _default(parameter: inspect.Parameter, argument: Any) -> str:
    """How a parameter's default differs from the schema's."""
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if variadic or not argument.has_default_value():
        return ""
    python, schema = parameter.default, argument.default_value
    if python is parameter.empty:
        return f"has no default for {argument.name!r}; its schema has {schema!r}"
    if all(isinstance(value, _PLAIN) for value in (python, schema)) and python != schema:
        return f"has {python!r} as the default of {argument.name!r}; its schema has {schema!r}"
    return ""
