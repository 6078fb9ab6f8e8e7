"""Samples for an op whose real implementation is Python: arguments made up until that implementation takes them.

One that is not Python gets none: it may not check what it reads.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from harness.audit.calling.calls import own_memory_fits
from harness.audit.making.asked import Asked, asking, traced
from harness.audit.making.search import Search
from harness.audit.registrations import implementations
from harness.audit.samples import Sample
from harness.base.exception_text import refusal_text

_TRIES, _MOST, _SECONDS = 120, 3, 20.0
Arguments = dict[str, Any]


class NoTensor(Exception):
    """An op took the arguments and returned none of the tensors that its schema names: they show nothing."""


def made_up(op: torch._ops.OpOverload) -> tuple[list[Sample], str]:
    """(up to three samples that the op accepts, why there is none). Both are empty where no implementation is Python."""
    functions = implementations(op)
    if not functions:
        return [], ""
    search = Search(op._schema, functions[0], _written(op))
    found: dict[str, Sample] = {}
    refusal, end = "", time.monotonic() + _SECONDS
    for _ in range(_TRIES):
        refusal = _tried(op, functions[0], search, found) or refusal
        if search.done or len(found) == _MOST or time.monotonic() > end:
            break
    return list(found.values()), "" if found else f"it refuses all arguments that the harness makes up: {refusal}"


def taken(op: torch._ops.OpOverload, one: Sample) -> bool:
    """Whether an op takes these arguments."""
    own = one.copy()
    try:
        with torch.no_grad():
            op(*own.args, **own.kwargs)
    except Exception:  # a body may refuse arguments in any way
        return False
    return True


def _written(op: torch._ops.OpOverload) -> Callable[[str], bool]:
    names = {one.name for one in op._schema.arguments if one.alias_info and one.alias_info.is_write}
    return lambda name: name in names


def _tried(op: torch._ops.OpOverload, function: Callable[..., Any], search: Search, found: dict[str, Sample]) -> str:
    """One attempt. Returns what was raised; empty where the function took the arguments."""
    asked, given = Asked(), search.given
    try:
        with torch.no_grad():
            _called(op, function, given, asked)
    except BaseException as error:  # a body may refuse arguments in any way
        if isinstance(error, KeyboardInterrupt):
            raise
        search.refused(error, asked)
        return refusal_text(error)
    if search.took():
        found.setdefault(_label(given), sample(op, given))
    return ""


def _called(op: torch._ops.OpOverload, function: Callable[..., Any], given: Arguments, asked: Asked) -> None:
    """Call the function with questions noted, then the op itself. The op's copies are its own, since it may write them."""
    numbered = sample(op, traced(given)).copy()
    with own_memory_fits(op), asking(asked, _by_name(op, numbered)):
        function(*numbered.args, **numbered.kwargs)
    own = sample(op, given).copy()
    with own_memory_fits(op):
        result = op(*own.args, **own.kwargs)
    promised = any("Tensor" in str(one.type) for one in op._schema.returns)
    if promised and not any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
        raise NoTensor("it returns no tensor")


def _by_name(op: torch._ops.OpOverload, one: Sample) -> Arguments:
    return {argument.name: value for argument, value in one.arguments(op)}


def sample(op: torch._ops.OpOverload, given: Arguments) -> Sample:
    """Arguments by name as a call by position: an implementation may call its parameters otherwise than the schema does.

    An argument with a default before one that is given has its default.
    """
    schema = op._schema.arguments
    last = max((place for place, one in enumerate(schema) if one.name in given and not one.kwarg_only), default=-1)
    positional = schema[: last + 1]
    args = tuple(given.get(one.name, one.default_value) for one in positional)
    return Sample(args, {one.name: given[one.name] for one in schema if one.kwarg_only and one.name in given})


def _label(given: Arguments) -> str:
    shown = {
        name: (tuple(one.shape), one.dtype) if isinstance(one, torch.Tensor) else one for name, one in given.items()
    }
    return str(shown)
