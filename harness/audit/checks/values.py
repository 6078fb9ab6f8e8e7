"""Values, without an oracle: uninitialised memory, layouts, and repeated calls."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.audit.calling.calls import ERRORS
from harness.audit.context import AuditedOp
from harness.audit.row import CheckResult, breaks, holds, not_applicable
from harness.audit.samples import Sample
from harness.audit.tensors import deterministic_fill, difference, exact_copy, movable, plain, storage_id, tensors
from harness.audit.variants.kinds import GIVEN, LAYOUTS, Variant
from harness.audit.variants.tables import is_ends, is_lengths, is_offsets

# Bytes to fill memory with before it is freed: 0xFF is NaN in every float, 0x11 a small number.
_FILL_BYTES = (0xFF, 0x11)
_BLOCKS = 8


def _result(audited: AuditedOp, variant: Variant) -> Any:
    """Copies of the outputs, and of the arguments that the op writes."""
    sample = audited.fresh(variant)
    out = audited.call(sample)
    written = audited.written(sample)
    return exact_copy((out, [leaf for place, leaf in enumerate(sample.leaves) if place in written]))


def poison(audited: AuditedOp) -> CheckResult:
    """The outputs do not depend on what uninitialised memory contains: NaN, or one of two bytes in freed blocks."""
    compared = 0
    for variant in audited.accepted:
        # Twice, since an op that is not deterministic would differ without any uninitialised memory.
        with deterministic_fill(True):
            pair = _result(audited, variant), _result(audited, variant)
        if not tensors(pair) or difference(*pair):
            continue  # the outputs differ from call to call, which breaks the row `second call`
        compared += 1
        with deterministic_fill(False):
            plain = _result(audited, variant)
            in_used = [_result_in_used_memory(audited, variant, byte) for byte in _FILL_BYTES]
        # Each of the three: fresh memory may happen to be full of NaN too, left by an earlier tensor.
        different = next((text for other in (plain, *in_used) if (text := difference(other, pair[0]))), "")
        if different and not difference(*pair, exact=True):  # an op with a state differs a little each time
            return breaks(
                f"uninitialised memory reaches the output: fresh memory and memory full of NaN give {different}",
                variant.label,
            )
        different = difference(in_used[0], in_used[1], exact=True)
        if different and not _varies(audited, variant):
            return breaks(
                f"uninitialised memory reaches the output: two different contents of it give {different}", variant.label
            )
    return holds(f"{compared} variants") if compared else not_applicable("no output has values that can be compared")


def _result_in_used_memory(audited: AuditedOp, variant: Variant, byte: int) -> Any:
    """The result right after blocks of the outputs' sizes were filled with a byte and freed, so that the heap reuses them."""
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
    """Whether the last bits of the result differ from call to call in the same memory."""
    with deterministic_fill(False):
        return any(
            difference(
                _result_in_used_memory(audited, variant, _FILL_BYTES[0]),
                _result_in_used_memory(audited, variant, _FILL_BYTES[0]),
                exact=True,
            )
            for _ in range(3)
        )


def layout(audited: AuditedOp) -> CheckResult:
    """Compare each variant with another layout with a dense copy of it."""
    compared = 0
    for variant in audited.accepted:
        if variant.kind not in LAYOUTS:
            continue
        dense = replace(variant, sample=variant.sample.with_leaves([_dense(leaf) for leaf in variant.sample.leaves]))
        one, other = _result(audited, dense), _result(audited, variant)
        if difference(one, _result(audited, dense)):
            continue  # the outputs differ from call to call, which breaks the row `second call`
        compared += 1
        different = difference(one, other)
        if different:
            return breaks(f"the same values in dense and in this layout give {different}", variant.label)
    return holds(f"{compared} variants") if compared else not_applicable("the op accepts no other layout")


def _dense(leaf: Any) -> Any:
    return leaf.clone(memory_format=torch.contiguous_format) if isinstance(leaf, Tensor) and plain(leaf) else leaf


def second(audited: AuditedOp) -> CheckResult:
    """The same inputs give the same bits, also after other calls. The first outputs keep their values and memory."""
    for variant in audited.accepted:
        different = _twice(audited, variant)
        if different:
            return breaks(different, variant.label)
    notes = [] if _depends(audited) else ["other values in every argument give the same outputs"]
    random = torch.Tag.nondeterministic_seeded in audited.op.tags
    what = f"{len(audited.accepted)} variants, each called three times"
    return holds(what + (", from one seed" if random else ""), *notes)


def _twice(audited: AuditedOp, variant: Variant) -> str:
    one, two = audited.fresh(variant), audited.fresh(variant)
    first = audited.call(one)
    first_values = exact_copy(first)
    second_outputs = audited.call(two)
    if difference(first_values, second_outputs, exact=True):
        return f"the same inputs give different values: {difference(first_values, second_outputs, exact=True)}"
    if difference(first, first_values, exact=True):
        return "the second call changed the outputs of the first"
    own = {storage_id(leaf) for leaf in tensors(one.leaves)} | {0}
    if {storage_id(leaf) for leaf in tensors(first)} - own & {storage_id(leaf) for leaf in tensors(second_outputs)}:
        return "the second call returns the memory of the first one's outputs"
    for other in audited.one_of_each()[:3]:
        if other.kind != GIVEN:
            audited.call(audited.fresh(other))
    _accepts(audited, _other_values(audited, variant))
    if difference(first, first_values, exact=True):
        return "a call with other inputs changed the first outputs"
    third = audited.call(audited.fresh(variant))
    different = difference(first_values, third, exact=True)
    return f"after other calls, the same inputs give different values: {different}" if different else ""


def _depends(audited: AuditedOp) -> bool:
    """Whether a change of the arguments' values changes the outputs, or nothing could be changed."""
    variant = audited.accepted[0]
    one, compared = audited.call(audited.fresh(variant)), False
    for change in (_reversed, _first_row):
        sample = _other_values(audited, variant, change)
        if not difference(sample.leaves, variant.sample.leaves, exact=True):
            continue
        if not _accepts(audited, sample):
            continue
        compared = True
        if not tensors(one) or difference(one, audited.call(sample), exact=True):
            return True
    return not compared


def _accepts(audited: AuditedOp, sample: Sample) -> bool:
    """Whether the op takes these values. One that checks its indices or tables may refuse them, and that is no fault."""
    try:
        audited.call(sample.with_leaves(exact_copy(sample.leaves)))
    except ERRORS:
        return False
    return True


def _reversed(x: Tensor) -> Tensor:
    return x.flip(0)


def _first_row(x: Tensor) -> Tensor:
    """Every row as the first. A sum or a count of all rows would not see them reversed."""
    return x[:1].expand(x.shape).clone()


def _other_values(audited: AuditedOp, variant: Variant, change: Callable[[Tensor], Tensor] = _reversed) -> Sample:
    """The same arguments with other rows, so that values stay in the same range. Tables of offsets stay as they are."""
    sample = audited.fresh(variant)
    sizes = {size for leaf in tensors(sample.leaves) for size in leaf.shape}
    for leaf in tensors(sample.leaves):
        table = is_offsets(leaf) or is_lengths(leaf, sizes) or is_ends(leaf, sizes)
        if leaf.dim() and leaf.numel() and 0 not in leaf.stride() and not table:
            bits = movable(leaf)
            bits.copy_(change(bits.clone()))
    return sample
