"""Values without an oracle: memory that nothing wrote, and the same question asked twice."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.audit.context import AuditedOp
from harness.audit.row import CheckResult, breaks, holds, not_applicable
from harness.audit.tensors import deterministic_fill, difference, exact_copy, plain, storage_id, tensors
from harness.audit.variants import GIVEN, LAYOUTS, Variant

# Bytes that freed memory is left full of: NaN in every float, and small ordinary numbers.
_DIRT = (0xFF, 0x11)
_BLOCKS = 8


def _result(audited: AuditedOp, variant: Variant) -> Any:
    """Outputs, and the arguments that the op wrote."""
    sample = audited.fresh(variant)
    out = audited.call(sample)
    written = audited.written(sample)
    return exact_copy((out, [leaf for place, leaf in enumerate(sample.leaves) if place in written]))


def poison(audited: AuditedOp) -> CheckResult:
    """The same answer with NaN in the memory that torch hands out, and with two kinds of dirt in what the heap reuses."""
    compared = 0
    for variant in audited.accepted:
        with deterministic_fill(True):
            pair = _result(audited, variant), _result(audited, variant)
        if not tensors(pair) or difference(*pair):
            continue  # it answers otherwise each time, which the row `second call` tells
        compared += 1
        with deterministic_fill(False):
            plain = _result(audited, variant)
            dirty = [_dirty(audited, variant, byte) for byte in _DIRT]
        found = difference(plain, pair[0])
        if found:
            return breaks(
                f"memory that nothing wrote reaches the output: ordinary and filled memory give {found}", variant.label
            )
        found = difference(dirty[0], dirty[1], exact=True)
        if found and not _varies(audited, variant):
            return breaks(
                f"memory that nothing wrote reaches the output: two contents of it give {found}", variant.label
            )
    return holds(f"{compared} variants") if compared else not_applicable("no output whose values could be compared")


def _dirty(audited: AuditedOp, variant: Variant, byte: int) -> Any:
    """The answer right after blocks of the outputs' sizes were filled and freed."""
    out = tensors(audited.real(variant).out)
    sizes = {max(1, leaf.untyped_storage().nbytes()) for leaf in out if storage_id(leaf)} or {64}
    sample = audited.fresh(variant)
    blocks = [
        torch.full((size,), byte, dtype=torch.uint8, device=audited.device) for size in sizes for _ in range(_BLOCKS)
    ]
    del blocks
    result = audited.call(sample)
    written = audited.written(sample)
    return exact_copy((result, [leaf for place, leaf in enumerate(sample.leaves) if place in written]))


def _varies(audited: AuditedOp, variant: Variant) -> bool:
    """Whether the answer's last bits differ from call to call in the same memory."""
    with deterministic_fill(False):
        return any(
            difference(_dirty(audited, variant, _DIRT[0]), _dirty(audited, variant, _DIRT[0]), exact=True)
            for _ in range(3)
        )


def layout(audited: AuditedOp) -> CheckResult:
    """The same values whatever the strides: each laid out variant against a dense copy of it."""
    compared = 0
    for variant in audited.accepted:
        if variant.kind not in LAYOUTS:
            continue
        dense = replace(variant, sample=variant.sample.with_leaves([_dense(leaf) for leaf in variant.sample.leaves]))
        one, other = _result(audited, dense), _result(audited, variant)
        if difference(one, _result(audited, dense)):
            continue  # it answers otherwise each time, which the row `second call` tells
        compared += 1
        found = difference(one, other)
        if found:
            return breaks(f"dense and laid out otherwise, the same values give {found}", variant.label)
    return holds(f"{compared} variants") if compared else not_applicable("the op takes no other layout")


def _dense(leaf: Any) -> Any:
    return leaf.clone(memory_format=torch.contiguous_format) if isinstance(leaf, Tensor) and plain(leaf) else leaf


def second(audited: AuditedOp) -> CheckResult:
    """The same bits again, after other calls too; the first outputs keep their values and their memory."""
    for variant in audited.accepted:
        found = _twice(audited, variant)
        if found:
            return breaks(found, variant.label)
    notes = [] if _depends(audited) else ["other values in every argument give the same outputs"]
    random = torch.Tag.nondeterministic_seeded in audited.op.tags
    what = f"{len(audited.accepted)} variants, each called three times"
    return holds(what + (", from one seed" if random else ""), *notes)


def _twice(audited: AuditedOp, variant: Variant) -> str:
    one, two = audited.fresh(variant), audited.fresh(variant)
    first = audited.call(one)
    kept = exact_copy(first)
    again = audited.call(two)
    if difference(kept, again, exact=True):
        return f"the same inputs give other values: {difference(kept, again, exact=True)}"
    if difference(first, kept, exact=True):
        return "the second call changed the outputs of the first"
    own = {storage_id(leaf) for leaf in tensors(one.leaves)} | {0}
    if {storage_id(leaf) for leaf in tensors(first)} - own & {storage_id(leaf) for leaf in tensors(again)}:
        return "the second call returns the memory of the first one's outputs"
    for other in audited.one_of_each()[:3]:
        if other.kind != GIVEN:
            audited.call(audited.fresh(other))
    audited.call(_other_values(audited, variant))
    if difference(first, kept, exact=True):
        return "a call with other inputs changed the first outputs"
    third = audited.call(audited.fresh(variant))
    found = difference(kept, third, exact=True)
    return f"after other calls, the same inputs give other values: {found}" if found else ""


def _depends(audited: AuditedOp) -> bool:
    """Whether the outputs follow the arguments' values, as far as one change of them shows."""
    one = audited.call(audited.fresh(audited.accepted[0]))
    other = audited.call(_other_values(audited, audited.accepted[0]))
    return not tensors(one) or bool(difference(one, other, exact=True))


def _other_values(audited: AuditedOp, variant: Variant) -> Any:
    """The same arguments with their rows in reverse order: values of the same range."""
    sample = audited.fresh(variant)
    for leaf in sample.leaves:
        if isinstance(leaf, Tensor) and leaf.dim() and leaf.is_floating_point() and 0 not in leaf.stride():
            leaf.copy_(leaf.clone().flip(0))
    return sample
