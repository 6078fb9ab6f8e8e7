"""An argument that the real implementation does not read, and that the fake takes an output's metadata from.

A backward formula has such: the gradient's shape is that of the forward's input. A caller gives both alike. The harness may not.
"""

import torch
from torch import Tensor

from harness.audit.calling.calls import ERRORS
from harness.audit.context import AuditedOp
from harness.audit.tensors import difference
from harness.audit.variants.variant import GIVEN, Variant
from harness.ops.tensor_meta import TensorMeta


def unread(audited: AuditedOp, variant: Variant, faked: TensorMeta, name: str) -> str:
    """Why a variant that the harness made shows nothing about a property of an output; empty if it does show something."""
    if variant.kind == GIVEN and not audited.made_up:
        return ""
    names = audited.names(variant.sample)
    for place, leaf in enumerate(variant.sample.leaves):
        follows = isinstance(leaf, Tensor) and getattr(TensorMeta.of(leaf), name) == getattr(faked, name)
        if follows and not _read(audited, variant, place):
            what = f"real does not read {names[place]!r}, from which the fake takes the {name}"
            return f"{what}; whether callers give another {name} there is not known [{variant.label}]"
    return ""


def _read(audited: AuditedOp, variant: Variant, place: int) -> bool:
    """Whether other values in an argument change an output, or cannot be tried."""
    sample = audited.fresh(variant)
    leaf = sample.leaves[place]
    bits = leaf.view(torch.uint8) if leaf.is_floating_point() and leaf.element_size() == 1 else leaf
    if not leaf.numel() or 0 in leaf.stride() or not bits.count_nonzero():
        return True
    bits.zero_()
    try:
        return bool(difference(audited.real(variant).out, audited.call(sample), exact=True))
    except ERRORS:
        return True
