"""Python signatures of an op's implementations beside its schema: torch passes on no argument that equals its default."""

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch

from harness.ops.registry import registered, unwrapped

_PLAIN = (bool, int, float, str, type(None))
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def misfit(func: Any) -> str:
    """How an implementation of an overload departs from its schema, in words; empty where none does or none is in Python."""
    told = ((kind, unfit(function, func)) for kind, function in _implementations(str(func._schema.name)))
    return next((f"its {kind} implementation {words}" for kind, words in told if words), "")


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
def unfit(function: Callable[..., Any], func: Any) -> str:
    """How a Python function departs from the schema of an overload whose calls it gets; empty where it does not."""
    try:
        takes = inspect.signature(function)
    except (TypeError, ValueError):  # built in C
        return ""
    arguments = func._schema.arguments
    by_place = [argument for argument in arguments if not argument.kwarg_only]
    try:
        bound = takes.bind(*by_place, **{argument.name: argument for argument in arguments if argument.kwarg_only})
    except TypeError as error:
        return f"does not take the schema's arguments: {error}; it is {function.__name__}{takes}"
    told = (_default(takes.parameters[name], argument) for name, argument in bound.arguments.items())
    return _misnamed([argument.name for argument in by_place], takes) or next((words for words in told if words), "")


def _misnamed(told: list[str], takes: inspect.Signature) -> str:
    """Names in another order: the dispatcher passes by position, so each would get another's value."""
    names = [name for name, parameter in takes.parameters.items() if parameter.kind in _BY_PLACE][: len(told)]
    if names == told[: len(names)] or sorted(names) != sorted(told[: len(names)]):
        return ""
    return f"takes {', '.join(names)} in this order; its schema names {', '.join(told)}"


def _default(parameter: inspect.Parameter, argument: Any) -> str:
    """How a parameter's default departs from the schema's, which torch leaves to it."""
    several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if several or not argument.has_default_value():
        return ""
    ours, schemas = parameter.default, argument.default_value
    if ours is parameter.empty:
        return f"has no default for {argument.name!r}; its schema has {schemas!r}"
    if all(isinstance(value, _PLAIN) for value in (ours, schemas)) and ours != schemas:
        return f"has {ours!r} as the default of {argument.name!r}; its schema has {schemas!r}"
    return ""
