"""Python signatures of an op's implementations beside its schema: torch passes on no argument that equals its default."""

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch

from harness.registry import registered, unwrapped

_PLAIN = (bool, int, float, str, type(None))


def misfit(func: Any) -> str:
    """How an implementation of an overload departs from its schema, in words; empty where none does or none is in Python."""
    told = (_misfit(kind, function, func) for kind, function in _implementations(str(func._schema.name)))
    return next((words for words in told if words), "")


def _implementations(name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """(``fake`` or ``real``, function) for each that is known."""
    ours = registered().get(name)
    theirs: Any = getattr(torch._library.custom_ops, "OPDEFS", {}).get(name)
    kernel = torch._library.simple_registry.singleton.find(name).fake_impl.kernel
    if ours:
        yield "fake", ours.fake
        yield from (("real", real) for real in ours.reals.values())
    elif theirs is not None and theirs._abstract_fn:
        yield "fake", theirs._abstract_fn
    elif theirs is None and kernel is not None:
        yield "fake", unwrapped(kernel.func)


@cache
def _misfit(kind: str, function: Callable[..., Any], func: Any) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in C
        return ""
    arguments = func._schema.arguments
    try:
        bound = signature.bind(
            *(argument for argument in arguments if not argument.kwarg_only),
            **{argument.name: argument for argument in arguments if argument.kwarg_only},
        )
    except TypeError as error:
        return f"its {kind} implementation does not take the schema's arguments: {error}"
    told = (_default(kind, signature.parameters[name], argument) for name, argument in bound.arguments.items())
    return next((words for words in told if words), "")


def _default(kind: str, parameter: inspect.Parameter, argument: Any) -> str:
    """How a parameter's default departs from the schema's, which torch leaves to it."""
    several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if several or not argument.has_default_value():
        return ""
    ours, schemas = parameter.default, argument.default_value
    if ours is parameter.empty:
        return f"its {kind} implementation has no default for {argument.name!r}; its schema has {schemas!r}"
    if all(isinstance(value, _PLAIN) for value in (ours, schemas)) and ours != schemas:
        return f"its {kind} implementation has {ours!r} as the default of {argument.name!r}; its schema has {schemas!r}"
    return ""
