"""Higher-order operators, such as ``torch.cond``: ops that take functions. Dispatch modes must say that they take them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch._ops import HigherOrderOperator
from torch.utils._pytree import tree_map


def is_higher_order(func: object) -> bool:
    """Whether an operator that a dispatch mode gets has functions among its arguments, and so no schema."""
    return isinstance(func, HigherOrderOperator)


def call_inside(mode: AbstractContextManager[Any], func: Any, args: Any, kwargs: Any) -> Any:
    """Call a higher-order operator. The ops inside its functions reach ``mode`` as if the layer called them itself."""
    return func(*tree_map(lambda x: _inside(mode, x), args), **tree_map(lambda x: _inside(mode, x), kwargs))


def _inside(mode: AbstractContextManager[Any], value: Any) -> Any:
    if not callable(value):
        return value
    function: Callable[..., Any] = value

    def call(*args: Any, **kwargs: Any) -> Any:
        with mode:  # torch switches a mode off while the mode handles an operator
            return function(*args, **kwargs)

    return call
