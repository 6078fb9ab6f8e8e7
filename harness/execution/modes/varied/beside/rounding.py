"""How far a rounding to half precision moves the oracle itself: one that rounds to few bits makes a large step of a small one."""

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.execution.difference import TOKEN_TOLERANCE, TOLERANCE, errors, total, within
from harness.execution.evidence import Call
from harness.execution.rig import Rig

MOVED = "a rounding of hidden_states to half precision moves the oracle itself as far"
# The layer rounds in more places than the oracle is moved in.
_PLACES = 2


def rounding_explains(rig: Rig, call: Call) -> bool:
    """Whether each token of a wrong call is as near the oracle as the oracle is to itself, one rounding away.

    That is looked at only where the oracle's own step is beyond the tolerance, as it is where the activations of a layer
    have eight bits or four.
    """
    output, expected = call.snapshot, call.expected
    if call.error is not None or not isinstance(output, Tensor) or expected is None or not call.before:
        return False
    moved = [total(rig.oracle((_moved(call.before[0], sign), *call.before[1:]))) for sign in (1, -1)]
    if output.shape != moved[0].shape or all(within(one, expected) for one in moved):
        return False
    error, own = _by_token(output, expected), [_by_token(one, expected) for one in moved]
    most = [TOLERANCE, TOKEN_TOLERANCE]
    limits = (limit + _PLACES * torch.maximum(*two) for limit, *two in zip(most, *own, strict=True))
    return all(bool((seen <= limit).all()) for seen, limit in zip(error, limits, strict=True))


def _moved(hidden: Tensor, sign: int) -> Tensor:
    """hidden_states whose elements are a step of bfloat16 larger or smaller, in turn."""
    signs = torch.ones(hidden.shape[1], device=hidden.device)
    signs[::2] = -1
    return (hidden.float() * (1 + sign * signs * torch.finfo(torch.bfloat16).eps)).to(hidden.dtype)


def _by_token(output: Tensor, expected: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Each token's largest error and the rms of its errors, in the units of their tolerances."""
    error, token_error = errors(output, expected)
    return error.amax(-1, keepdim=True), token_error
