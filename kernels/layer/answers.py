"""The oracle's answers, cached by the content of their inputs: cases that differ in their number of ranks share them."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor

from harness.ops.tensor_bytes import bytes_of

# One model's cases ask about a dozen batches, twice each.
ENTRIES = 24

_saved: OrderedDict[Hashable, dict[str, Tensor]] = OrderedDict()


def cached(key: Hashable, inputs: tuple[Tensor, ...], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """``compute()``, or what it gave for this key and inputs of the same bytes; not to be written to.

    ``key`` is everything else that the answer depends on.
    """
    if inputs[0].device.type != "cpu":
        return compute()
    whole = (key, *((tensor.shape, tensor.dtype, _digest(tensor)) for tensor in inputs))
    answer = _saved.pop(whole, None) or compute()
    _saved[whole] = answer
    if len(_saved) > ENTRIES:
        _saved.popitem(last=False)
    return answer


def _digest(tensor: Tensor) -> bytes:
    return hashlib.blake2b(bytes_of(tensor).numpy().data).digest()
