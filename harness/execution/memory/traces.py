"""What a trace over fake tensors leaves in the caches of modules, for whatever is run after it in the process."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_leaves

from harness.execution.memory.reachable import caches_of, tables_of


@contextmanager
def without_traces(layer: object, ops: Iterable[str]) -> Iterator[None]:
    """Take out of the caches within reach what is put in inside a ``with`` block, which traces the layer.

    A later verdict would find fake tensors there. The variation ``traced=first`` judges a layer that keeps them.
    """
    caches = [(cache, cache.cache_info().misses) for cache in caches_of(layer, ops)]
    tables = [(table, dict(table)) for table in tables_of(layer, ops)]
    try:
        yield
    finally:
        for cache, misses in caches:
            if cache.cache_info().misses != misses:
                cache.cache_clear()
        for table, before in tables:
            _restore(table, before)


def _restore(table: dict[Any, Any], before: dict[Any, Any]) -> None:
    """Each entry that holds something of a trace becomes what it was before, or is taken out."""
    for key in [key for key in table if key not in before or table[key] is not before[key]]:
        if any(map(_is_traced, (*tree_leaves(key), *tree_leaves(table[key])))):
            if key in before:
                table[key] = before[key]
            else:
                del table[key]


def _is_traced(thing: Any) -> bool:
    return isinstance(thing, FakeTensor | torch.SymInt)
