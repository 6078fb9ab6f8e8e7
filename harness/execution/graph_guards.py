"""What the guards of a traced graph allow, before a backend compiles it and adds guards of its own."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._guards import detect_fake_mode

# A guard that fixes a size to one number, as Dynamo writes it: each other count would make one graph more.
_FIXED = re.compile(r"\.size\(\)\[\d+\] == \d+$|^\d+ == \S*\.size\(\)\[\d+\]$")
_OF_SIZES = re.compile(r"\.size\(\)\[\d+\]")


def allowed_tokens(inputs: Sequence[Any]) -> Callable[[int], bool]:
    """From a graph's inputs to whether its guards, as they are now, allow a number of tokens."""
    mode: Any = detect_fake_mode(inputs)
    env = mode.shape_env if mode is not None else None
    symbols = {
        value.node.expr for value in inputs if isinstance(value, torch.SymInt) and value.node.expr.is_Symbol
    }  # of the sizes that were marked as dynamic: the tokens alone
    if env is None or not symbols:
        return lambda tokens: False
    guards = [guard.expr for guard in env.guards]
    ranges = [env.var_to_range[symbol] for symbol in symbols]

    def allows(tokens: int) -> bool:
        sizes = dict.fromkeys(symbols, tokens)
        return all(one.lower <= tokens <= one.upper for one in ranges) and all(
            bool(guard.subs(sizes) != False)  # noqa: E712
            for guard in guards
        )

    return allows


def is_split(reason: str) -> bool:
    """Whether a guard that failed, as Dynamo writes it, divides the sizes into ranges rather than fix one."""
    return bool(_OF_SIZES.search(reason)) and not _FIXED.search(reason)
