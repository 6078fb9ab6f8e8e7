"""Samples: arguments for an op, from the user's function, from the registry, or for simple schemas made up."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from harness.audit.tensors import exact_copy
from harness.base.errors import BadInput, nearest
from harness.base.loading import import_named
from harness.ops.registry import registered

_MOST = 1_000  # samples of a function: one that never ends is told from one that is long
HOW = (
    "write a function that yields argument tuples and name it with --samples mymodule:samples, "
    "for instance: import torch; def samples(device): yield (torch.randn(5, 8, device=device), 3)"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def leaves(self) -> list[Any]:
        """Every value in the arguments, with lists flattened."""
        return tree_flatten((self.args, self.kwargs))[0]

    def with_leaves(self, leaves: list[Any]) -> "Sample":
        """The same structure with other values."""
        args, kwargs = tree_unflatten(leaves, tree_flatten((self.args, self.kwargs))[1])
        return Sample(args, kwargs)

    def arguments(self, op: torch._ops.OpOverload) -> Iterator[tuple[Any, Any]]:
        """(schema argument, value) for every argument that is given."""
        schema = op._schema.arguments
        yield from zip([argument for argument in schema if not argument.kwarg_only], self.args, strict=False)
        by_name = {argument.name: argument for argument in schema}
        yield from ((by_name[name], value) for name, value in self.kwargs.items() if name in by_name)

    def names(self, op: torch._ops.OpOverload) -> dict[int, str]:
        """The name of the argument of each leaf: ``x`` or ``xs[1]``."""
        labels: list[str] = []
        for argument, value in self.arguments(op):
            leaves = tree_leaves(value)
            many = isinstance(value, (list, tuple))
            labels += [f"{argument.name}[{place}]" if many else argument.name for place in range(len(leaves))]
        return dict(enumerate(labels))

    def written(self, op: torch._ops.OpOverload) -> frozenset[int]:
        """The places of the leaves that the schema declares as mutable."""
        flags: list[bool] = []
        for argument, value in self.arguments(op):
            flags += [bool(argument.alias_info and argument.alias_info.is_write)] * len(tree_leaves(value))
        return frozenset(place for place, flag in enumerate(flags) if flag)

    def copy(self) -> "Sample":
        """The same arguments in new memory."""
        return self.with_leaves(exact_copy(self.leaves))


def given(op: torch._ops.OpOverload, spec: str, device: torch.device) -> list[Sample]:
    """The samples of an op: from ``spec`` (module:function), else the registry, else made up. Raises BadInput."""
    if spec:
        return [_fitting(op, spec, one) for one in _called(spec, _function(spec), device)]
    own = registered().get(op.name())
    if own and own.samples:
        return _called(f"the samples of {own.name}", own.samples, device)
    return _made_up(op, device)


def _function(spec: str) -> Any:
    module, _, name = spec.partition(":")
    if not module or not name:
        raise BadInput(f"--samples {spec!r} is not of the form module:function; {HOW}")
    contents = import_named(f"--samples {spec!r}", module)
    function = getattr(contents, name, None)
    if not callable(function):
        near = nearest(name, [public for public in vars(contents) if not public.startswith("_")])
        raise BadInput(
            f"--samples {spec!r}: the module has no function {name!r}"
            + (f"; did you mean {' or '.join(near)}?" if near else f"; {HOW}")
        )
    return function


def _called(what: str, function: Any, device: torch.device) -> list[Sample]:
    try:
        samples = list(islice(function(device) if _takes_device(function) else function(), _MOST + 1))
    except Exception as error:  # a user's function may raise anything
        raise BadInput(f"--samples {what} raised {type(error).__name__}: {error}") from error
    if not samples:
        raise BadInput(f"--samples {what} yields nothing; {HOW}")
    if len(samples) > _MOST:
        raise BadInput(
            f"--samples {what} yields more than {_MOST:,} samples; expected a few, whose variants are tried too"
        )
    return [_sample(what, one) for one in samples]


def _fitting(op: torch._ops.OpOverload, what: str, sample: Sample) -> Sample:
    """The sample, whose arguments the schema has. Raises BadInput where it has others, fewer or more."""
    schema = op._schema.arguments
    positional = [argument.name for argument in schema if not argument.kwarg_only]
    unknown = [name for name in sample.kwargs if name not in {argument.name for argument in schema}]
    given_names = {*positional[: len(sample.args)], *sample.kwargs}
    missing = [
        argument.name for argument in schema if not (argument.has_default_value() or argument.name in given_names)
    ]
    if len(sample.args) > len(positional):
        wrong = f"{len(sample.args)} positional arguments in place of at most {len(positional)}"
    elif unknown:
        wrong = f"an argument {unknown[0]!r}, which the op does not have"
    elif missing:
        wrong = f"no argument {missing[0]!r}"
    else:
        return sample
    raise BadInput(f"--samples {what} yields {wrong}; expected those of {op._schema}")


def _takes_device(function: Any) -> bool:
    try:
        return bool(signature(function).parameters)
    except (TypeError, ValueError):
        return False


def _sample(what: str, one: Any) -> Sample:
    if isinstance(one, (tuple, list)):
        pair = len(one) == 2 and isinstance(one[0], (tuple, list)) and isinstance(one[1], dict)
        return Sample(tuple(one[0]), dict(one[1])) if pair else Sample(tuple(one), {})
    raise BadInput(f"--samples {what} yields a {type(one).__name__}; expected a tuple of arguments, or (args, kwargs)")


def _made_up(op: torch._ops.OpOverload, device: torch.device) -> list[Sample]:
    """Random tensors, if every argument without a default is a tensor; else no samples."""
    needed = [argument for argument in op._schema.arguments if not argument.has_default_value()]
    if not needed or any(str(argument.type) not in ("Tensor", "List[Tensor]") for argument in needed):
        return []
    generator = torch.Generator().manual_seed(0)

    def one() -> torch.Tensor:
        return torch.randn(5, 7, generator=generator).to(device)

    values = [[one(), one()] if str(argument.type) == "List[Tensor]" else one() for argument in needed]
    pairs = list(zip(needed, values, strict=True))
    positional = tuple(value for argument, value in pairs if not argument.kwarg_only)
    return [Sample(positional, {argument.name: value for argument, value in pairs if argument.kwarg_only})]
