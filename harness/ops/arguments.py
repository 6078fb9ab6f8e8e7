"""The tensors of one op call, and what the op's schema declares of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from harness.ops.tensor_meta import TensorMeta

Metas = tuple[TensorMeta | None, ...]
Plain = tuple[int | float | bool | str | None, ...]


def metas(out: Any) -> Metas:
    """The meta of each output; None where an output is no tensor."""
    return tuple(TensorMeta.of(leaf) if isinstance(leaf, Tensor) else None for leaf in tree_leaves(out))


def plain(out: Any) -> Plain:
    """The value of each output that is a plain number, flag or text; None where it is a tensor or a symbol."""
    return tuple(leaf if isinstance(leaf, int | float | bool | str) else None for leaf in tree_leaves(out))


def arguments(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """(schema argument, value) for every argument of a call."""
    schema = func._schema.arguments
    yield from zip(schema, args, strict=False)
    by_name = {argument.name: argument for argument in schema}
    for name, value in kwargs.items():
        yield by_name[name], value


def _tensors(func: Any, args: Any, kwargs: Any) -> Iterator[tuple[Any, Tensor]]:
    """(schema argument, tensor) for every tensor in a call's arguments."""
    for argument, value in arguments(func, args, kwargs):
        for leaf in tree_leaves(value):
            if isinstance(leaf, Tensor):
                yield argument, leaf


def not_written(func: Any, args: Any, kwargs: Any) -> list[tuple[str, Tensor]]:
    """(argument's name, tensor) for each tensor that the schema does not declare as written."""
    return [(argument.name, tensor) for argument, tensor in _tensors(func, args, kwargs) if not _is_write(argument)]


def declared_writes(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that the schema declares as written."""
    if not func._schema.is_mutable:
        return []
    return [tensor for argument, tensor in _tensors(func, args, kwargs) if _is_write(argument)]


def _is_write(argument: Any) -> bool:
    return bool(argument.alias_info and argument.alias_info.is_write)


def undeclared_aliases(func: Any, args: Any, kwargs: Any, out: Any) -> tuple[str, ...]:
    """Names of arguments that share their storage with an output although the schema declares no alias."""
    storages = set(_storages(func, out))
    return tuple(
        argument.name
        for argument, tensor in (_tensors(func, args, kwargs) if storages else ())
        if tensor.untyped_storage()._cdata in storages
    )


def untrue_aliases(func: Any, args: Any, kwargs: Any, out: Any) -> tuple[str, ...]:
    """Names of arguments whose memory the schema says that an output shares, where none of its outputs does."""
    outputs = out if isinstance(out, tuple | list) else (out,)
    untrue = []
    for returned, value in zip(func._schema.returns, outputs, strict=False):
        if returned.alias_info is None or not isinstance(value, Tensor) or not value.numel():
            continue
        sources = [pair for pair in _tensors(func, args, kwargs) if _same_set(pair[0], returned)]
        storage = value.untyped_storage()._cdata
        if sources and all(tensor.untyped_storage()._cdata != storage for _, tensor in sources):
            untrue.append(sources[0][0].name)
    return tuple(untrue)


def _same_set(argument: Any, returned: Any) -> bool:
    """Whether an argument and an output are declared to share memory."""
    info = argument.alias_info
    return info is not None and bool(info.before_set & returned.alias_info.before_set)


def overlap(func: Any, out: Any) -> bool:
    """Whether two outputs share a storage. No schema can declare that, and torch forbids it."""
    storages = _storages(func, out)
    return len(set(storages)) < len(storages)


def _storages(func: Any, out: Any) -> list[int]:
    """The storage of each output that has elements; none where the schema declares an alias."""
    if any(returned.alias_info for returned in func._schema.returns):
        return []
    return [leaf.untyped_storage()._cdata for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.numel()]
