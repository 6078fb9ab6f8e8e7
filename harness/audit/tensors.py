"""Copy arguments with their strides, offsets and shared storages, and compare tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from harness.execution.evidence import same_bits

PACKED = tuple(getattr(torch, name) for name in ("float4_e2m1fn_x2",) if hasattr(torch, name))


def tensors(tree: Any) -> list[Tensor]:
    """The tensors in arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def movable(tensor: Tensor) -> Tensor:
    """The same memory in a dtype that torch can move, compare and count: it does little with floats of eight or four bits."""
    return tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor


def exact_copy(tree: Any) -> Any:
    """A copy in new memory with the same sizes, strides and offsets. Tensors that shared a storage still do."""
    storages: dict[int, Any] = {}
    return tree_map(lambda leaf: _copy(leaf, storages) if isinstance(leaf, Tensor) else leaf, tree)


def plain(tensor: Tensor) -> bool:
    """Whether a tensor is strided and ordinary, so that its storage can be copied and read."""
    ordinary = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_conj()
    return ordinary and not tensor.is_neg() and type(tensor) in (Tensor, torch.nn.Parameter)


def _copy(tensor: Tensor, storages: dict[int, Any]) -> Tensor:
    if not plain(tensor):
        return tensor.detach().clone()
    storage = tensor.untyped_storage()
    if storage._cdata not in storages:
        storages[storage._cdata] = storage.clone()
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(storages[storage._cdata], tensor.storage_offset(), tensor.size(), tensor.stride())


def memory(tensor: Tensor) -> Tensor:
    """All bytes of the tensor's storage, uint8 [bytes]. A tensor without a readable storage gives a copy of itself."""
    if not plain(tensor):
        return tensor.detach().clone()
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def storage_id(tensor: Tensor) -> int:
    """An id of the storage; 0 if no memory can be shared."""
    return tensor.untyped_storage()._cdata if plain(tensor) and tensor.untyped_storage().nbytes() else 0


def written_outside(before: Tensor, after: Tensor) -> bool:
    """Whether storage bytes outside the tensor's elements changed. Both are exact copies of one tensor."""
    if not plain(before) or before.untyped_storage().nbytes() == 0:
        return False
    trial: Tensor = exact_copy(after)
    trial.copy_(before)
    return not torch.equal(memory(trial), memory(before))


def difference(left: Any, right: Any, exact: bool = False) -> str:
    """How two results differ. Empty if they agree within the tolerance of their dtype; NaN equals NaN."""
    ours, theirs = tree_leaves(left), tree_leaves(right)
    if len(ours) != len(theirs):
        return f"{len(ours)} values and {len(theirs)}"
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        text = _differs(one, other, exact)
        if text:
            return f"output {place}: {text}" if len(ours) > 1 else text
    return ""


def _differs(one: Any, other: Any, exact: bool) -> str:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return "" if type(one) is type(other) and (one == other or one != one) else f"{one!r} and {other!r}"
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"{one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)}"
    if not plain(one) or not plain(other):
        return "" if torch.equal(one, other) else "different values"
    if same_bits(one, other):
        return ""
    if one.dtype in PACKED:
        one, other = (x.contiguous().view(torch.uint8) for x in (one, other))
    wide = torch.complex128 if one.is_complex() else torch.float64
    a, b = (x.detach().to(wide) if x.dtype != torch.bool else x.double() for x in (one, other))
    bad = ~torch.isclose(a, b, *_tolerance(one.dtype, exact), equal_nan=True)
    if not bad.any():
        return ""
    first = bad.nonzero()[0].tolist()
    return f"{int(bad.sum())} of {bad.numel()} elements, at {first} {one[tuple(first)].item()!r} and {other[tuple(first)].item()!r}"


def _tolerance(dtype: torch.dtype, exact: bool) -> tuple[float, float]:
    if exact or not (dtype.is_floating_point or dtype.is_complex):
        return 0.0, 0.0
    return 16 * torch.finfo(dtype).eps, 16 * torch.finfo(dtype).eps


@contextmanager
def deterministic_fill(on: bool) -> Iterator[None]:
    """Switch torch's deterministic mode on or off, and back. It fills new memory with NaN, or the largest integer."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(on, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
