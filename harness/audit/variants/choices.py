"""Variants with another setting: a bool flipped, an optional left out or put in, a string or int that the source names."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, islice
from typing import Any

import torch
from torch import Tensor

from harness.audit.samples import Sample
from harness.audit.variants.variant import Base, Variant

BOOL, OPTIONAL, VALUE, UNNAMED = "bool", "optional", "named value", "unnamed value"
_MOST_VALUES, _MOST_PAIRS = 8, 6
_OTHER = "another"


def _settings(base: Base) -> Iterator[tuple[Any, Any]]:
    """(schema argument, value) of every argument, with the default of one that is not given."""
    given = {argument.name: value for argument, value in base.sample.arguments(base.op)}
    for argument in base.op._schema.arguments:
        if argument.name in given:
            yield argument, given[argument.name]
        elif argument.has_default_value():
            yield argument, argument.default_value


def _set(base: Base, name: str, value: Any) -> Sample:
    """The sample with one argument set by name."""
    order = [argument.name for argument in base.op._schema.arguments if not argument.kwarg_only]
    args, kwargs = list(base.sample.args), dict(base.sample.kwargs)
    if name in order and order.index(name) < len(args):
        args[order.index(name)] = value
    else:
        kwargs[name] = value
    return Sample(tuple(args), kwargs)


def _type(argument: Any) -> str:
    return str(argument.real_type)


def flipped(base: Base) -> Iterator[Variant]:
    """Each bool flipped, and two at a time."""
    for argument, value in _settings(base):
        if isinstance(value, bool):
            sample = _set(base, argument.name, not value)
            yield Variant(f"{argument.name}={not value}", BOOL, sample, base.number)
    yield from _pairs(base)


def _pairs(base: Base) -> Iterator[Variant]:
    """Two bools at a time, both flipped: a branch may need both."""
    bools = [(argument.name, value) for argument, value in _settings(base) if isinstance(value, bool)]
    for (one, first), (other, second) in islice(combinations(bools, 2), _MOST_PAIRS):
        sample = _set(replace(base, sample=_set(base, one, not first)), other, not second)
        yield Variant(f"{one}={not first} and {other}={not second}", BOOL, sample, base.number)


def optionals(base: Base) -> Iterator[Variant]:
    """Each optional that is given left out, and each that is not given put in, as far as a value can be made up.

    Only a Python implementation gets a value that is made up: another one may not check it.
    """
    for argument, value in _settings(base):
        if not _type(argument).startswith("Optional") and not _type(argument).endswith("?"):
            continue
        if value is not None:
            yield Variant(f"{argument.name} absent", OPTIONAL, _set(base, argument.name, None), base.number)
            yield from _of_other_dtype(base, argument, value)
        elif base.hints.python:
            yield from _present(base, argument)


def _present(base: Base, argument: Any) -> Iterator[Variant]:
    """The optional put in, with each value that is made up for it."""
    for made in _made_up(base, argument):
        one = made.reshape(-1)[0].clone() if isinstance(made, Tensor) and made.dim() else None
        plainer = None if one is None else _set(base, argument.name, one)
        sample = _set(base, argument.name, made)
        yield Variant(f"{argument.name} present", OPTIONAL, sample, base.number, plainer=plainer)


def _of_other_dtype(base: Base, argument: Any, value: Any) -> Iterator[Variant]:
    """An optional tensor as the only one in float32, or in float16 where it is that: the output's dtype may follow it."""
    if isinstance(value, Tensor) and value.is_floating_point() and base.hints.python:
        other = torch.float16 if value.dtype == torch.float32 else torch.float32
        sample = _set(base, argument.name, value.to(other))
        yield Variant(f"{argument.name} in {str(other).removeprefix('torch.')}", OPTIONAL, sample, base.number)


def _made_up(base: Base, argument: Any) -> list[Any]:
    """Values for an optional argument, in the order to try them."""
    kind = _type(argument)
    tensors = [leaf for leaf in base.sample.leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if "Tensor" in kind and "List" not in kind and tensors:
        return _tensors(tensors)
    if "bool" in kind:
        return [True]
    if "float" in kind:
        return [0.5]
    if kind.endswith(("[int]", "[SymInt]", "int?", "SymInt?")):
        return [tensors[0].shape[-1] - 1, 1] if tensors and tensors[0].dim() else [1]
    return []


def _tensors(given: list[Tensor]) -> list[Tensor]:
    """Tensors of the first one's dtype: a number for each last dimension, then a whole shape, then one number."""
    first = given[0]
    last = [(x.shape[-1],) for x in reversed(given) if x.dim()] + [(x.shape[0],) for x in reversed(given) if x.dim()]
    shapes = dict.fromkeys([*last, tuple(first.shape), ()])
    generator = torch.Generator().manual_seed(1)
    made = (torch.rand(shape, generator=generator) + 0.5 for shape in shapes)
    return [x.to(first.dtype).to(first.device) for x in made]


def named(base: Base) -> Iterator[Variant]:
    """Each string or int argument at every constant that the source compares it with."""
    for argument, value in _settings(base):
        wanted = str if "str" in _type(argument) else int if "int" in _type(argument).lower() else None
        if wanted is None or isinstance(value, (list, tuple, bool)):
            continue
        for other in base.hints.values.get(argument.name, [])[:_MOST_VALUES]:
            if type(other) is wanted and other != value:
                sample = _set(base, argument.name, other)
                yield Variant(f"{argument.name}={other!r}", VALUE, sample, base.number)


def unnamed(base: Base) -> Iterator[Variant]:
    """A string that the source does not name, for an argument that it compares with the sample's alone: the other branch.

    Such a string is nobody's promise. A variant of this kind says something only where the op and its fake both accept it.
    """
    for argument, value in _settings(base):
        if isinstance(value, str) and base.hints.python and base.hints.values.get(argument.name) == [value]:
            yield Variant(f"{argument.name}={_OTHER!r}", UNNAMED, _set(base, argument.name, _OTHER), base.number)
