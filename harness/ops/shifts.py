"""By how many columns torch's ops that pad and cut move the rows of a tensor."""

from collections.abc import Sequence
from typing import Any


def shift(op: str, args: Sequence[Any]) -> int:
    """Columns of padding in front of the rows, or columns cut off in front of them; 0 for other ops and symbolic numbers."""
    if op == "aten::constant_pad_nd" and len(args) > 1 and args[1]:
        return _number(args[1][0])
    if op == "aten::slice" and len(args) > 2 and args[1] in (-1, args[0].dim() - 1):
        start = _number(args[2])
        return start if start >= 0 else start + _number(args[0].shape[-1])
    return 0


def _number(value: Any) -> int:
    return value if type(value) is int else 0
