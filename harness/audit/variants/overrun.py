"""Sizes that depend on each other: a variant that changes one of them makes a kernel that trusts them read past an argument."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.audit.samples import Sample
from harness.audit.tensors import difference, exact_copy, plain
from harness.audit.variants.variant import Variant

_ROWS = 128
_FILLS = (1, 0)  # small, since a kernel may take what it reads there for an index


def past_the_end(variant: Variant, call: Callable[[Sample], Any]) -> bool:
    """Whether the outputs depend on what lies behind an argument that the variant leaves as it is, or makes smaller.

    An argument that grows is not asked: past its new end, an op reads at its own fault.
    """
    change = variant.resize
    if change is None and variant.kind != "other dtype":  # a smaller dtype has less memory for a kernel that ignores it
        return False
    grown = {place for place, _ in change.dims} if change and change.new > change.old else set()
    results = [_result(variant.sample, fill, grown, call) for fill in (*_FILLS, _FILLS[0])]
    return bool(difference(results[0], results[1], exact=True)) and not difference(results[0], results[2], exact=True)


def _result(sample: Sample, fill: int, grown: set[int], call: Callable[[Sample], Any]) -> Any:
    leaves = [
        _guarded(leaf, fill) if isinstance(leaf, Tensor) and place not in grown else exact_copy(leaf)
        for place, leaf in enumerate(sample.leaves)
    ]
    return exact_copy(call(sample.with_leaves(leaves)))


def _guarded(x: Tensor, fill: int) -> Tensor:
    """A copy between rows of one number; other layouts than dense ones are copied as they are."""
    if not plain(x) or not x.is_contiguous() or x.element_size() < 1 or x.dtype == torch.bool:
        copied: Tensor = exact_copy(x)
        return copied
    guard = _ROWS * max(1, *x.shape, x.numel() // max(1, x.shape[0]) if x.dim() else 1)
    flat = torch.zeros(2 * guard + x.numel(), dtype=torch.float32).add_(fill).to(x.dtype).to(x.device)
    middle = flat[guard : guard + x.numel()].view(x.shape)
    middle.copy_(x)
    return middle
