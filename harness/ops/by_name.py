"""A fake that names only the arguments it reads, so that an op's list of arguments need not be written twice."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class ByName:
    """A fake that the registry calls with the arguments it names; see ``by_name``."""

    function: Callable[..., Any]

    def bind(self, schema: str) -> Callable[..., Any]:
        """A function of all arguments of a schema, which passes on those that the fake names.

        Raises TypeError where the fake names an argument that the schema lacks.
        """
        signature = _signature(schema)
        names = tuple(inspect.signature(self.function).parameters)
        unknown = [name for name in names if name not in signature.parameters]
        if unknown:
            raise TypeError(
                f"the fake {self.function.__name__} takes {', '.join(unknown)}; "
                f"its schema names {', '.join(signature.parameters)}"
            )
        return _selecting(self.function, signature, names)


def by_name(fake: Callable[..., Any]) -> ByName:
    """Mark a fake that takes some of its op's arguments, by their names in the schema: ``fake=by_name(function)``.

    A fake without this mark must take every argument of the schema. Defaults are the schema's, never the fake's own.
    """
    return ByName(fake)


def _selecting(
    function: Callable[..., Any], signature: inspect.Signature, names: tuple[str, ...]
) -> Callable[..., Any]:
    """A function of the whole signature that calls ``function`` with the arguments named."""
    defaults = tuple(parameter.default for parameter in signature.parameters.values())
    required = [place for place, default in enumerate(defaults) if default is inspect.Parameter.empty]
    needed = required[-1] + 1 if required else 0
    places = [list(signature.parameters).index(name) for name in names]

    # ``wraps`` lets ``inspect.getsource`` find the fake's own text: compiled code is cached under it.
    @wraps(function)
    def fake(*args: Any, **kwargs: Any) -> Any:
        # torch calls by position. ``bind`` takes ten times as long, and words the error of a call that does not fit.
        if kwargs or not needed <= len(args) <= len(defaults):
            args = _bound(function.__name__, signature, args, kwargs)
        args += defaults[len(args) :]
        return function(*[args[place] for place in places])

    # ``inspect.signature`` follows ``wraps`` too, and would show the few arguments.
    fake.__signature__ = signature  # type: ignore[attr-defined]
    return fake


def _bound(name: str, signature: inspect.Signature, args: Any, kwargs: Any) -> tuple[Any, ...]:
    """Every argument's value, in the order of the signature. Raises TypeError where the call does not fit."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}() called with {error}; it takes {', '.join(signature.parameters)}") from None
    bound.apply_defaults()
    return tuple(bound.arguments.values())


def _signature(schema: str) -> inspect.Signature:
    arguments = torch._C.parse_schema("fake::by_name" + schema).arguments
    return inspect.Signature([_parameter(argument) for argument in arguments])


def _parameter(argument: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY if argument.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
    default = argument.default_value if argument.has_default_value() else inspect.Parameter.empty
    return inspect.Parameter(argument.name, kind, default=default)
