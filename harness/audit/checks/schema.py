"""The schema itself, and whether the fake's own signature takes the arguments that it names."""

import inspect
from collections.abc import Callable
from typing import Any

from harness.audit.context import Audited
from harness.audit.ops import devices, fake_function, is_composite
from harness.audit.row import Seen, breaks, holds
from harness.registry import registered


def schema(audited: Audited) -> Seen:
    """The arguments that the dispatcher may pass are those that fake and real implementations take."""
    op = audited.op
    functions = {"fake": fake_function(op)}
    own = registered().get(op._schema.name)
    functions |= {f"{device} implementation": real for device, real in own.reals.items()} if own else {}
    for what, function in functions.items():
        found = _unfit(op._schema, function) if function else ""
        if found:
            return breaks(f"the {what} does not take the schema's arguments: {found}")
    read = [what for what, function in functions.items() if function]
    what = f"{len(op._schema.arguments)} arguments, {len(op._schema.returns)} outputs"
    return holds(what + (f"; taken by the {' and the '.join(read)}" if read else ""), *_notes(audited))


def _unfit(told: Any, function: Callable[..., Any]) -> str:
    """Why a Python function cannot be called with every argument given; empty where it can."""
    try:
        takes = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    positional = [argument.name for argument in told.arguments if not argument.kwarg_only]
    named = {argument.name: None for argument in told.arguments if argument.kwarg_only}
    try:
        takes.bind(*positional, **named)
    except TypeError as error:
        return f"{error}; it is {function.__name__}{takes}"
    return _misnamed(positional, takes)


def _misnamed(positional: list[str], takes: inspect.Signature) -> str:
    """Names in another order: the dispatcher passes by position, so each would get another's value."""
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, parameter in takes.parameters.items() if parameter.kind in plain][: len(positional)]
    swapped = sorted(names) == sorted(positional[: len(names)]) and names != positional[: len(names)]
    return f"the schema names {', '.join(positional)} in this order, the function {', '.join(names)}" if swapped else ""


def _notes(audited: Audited) -> list[str]:
    told = audited.op._schema
    found = [] if devices(audited.op) else ["no implementation is registered for any device"]
    here = audited.device.type
    if found == [] and here not in devices(audited.op):
        found.append(f"no implementation for {here}; there is one for {', '.join(devices(audited.op))}")
    if is_composite(audited.op):
        found.append("composite (CompositeImplicitAutograd): torch traces through it")
    whole = [argument.name for argument in told.arguments if str(argument.type) == "int" and "SymInt" not in str(told)]
    if whole:
        found.append(f"{', '.join(whole)}: `int`, so a compile fixes each value; SymInt would not")
    return found
