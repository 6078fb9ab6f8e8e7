"""Fresh memory: deterministic mode fills it with NaN. torch cannot do that for every dtype, float4 for one, and then raises.

The harness asked for the filling, not the layer, so whatever raises for that reason is run once more without it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_CANNOT_FILL = '"fill_empty_deterministic_" not implemented'


def call_filled(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns, with fresh memory filled where torch can fill it."""
    try:
        return function(*args, **kwargs)
    except NotImplementedError as error:
        if _CANNOT_FILL not in str(error):
            raise
    with _unfilled():
        return function(*args, **kwargs)


def copy_of(tensor: Tensor) -> Tensor:
    """A copy of a tensor of any dtype."""
    copy: Tensor = call_filled(tensor.clone)
    return copy


@contextmanager
def _unfilled() -> Iterator[None]:
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before
