"""An argument that the real implementation does not read, and that the fake takes an output's metadata from.

A backward formula has such: the gradient's shape is that of the forward's input. A caller gives both alike. The harness may not.
"""

from torch import Tensor

from harness.audit.calling.calls import ERRORS
from harness.audit.context import AuditedOp
from harness.audit.tensors import difference, movable
from harness.audit.variants.variant import GIVEN, Variant
from harness.ops.tensor_meta import TensorMeta


def unread(audited: AuditedOp, variant: Variant, faked: TensorMeta, name: str) -> str:
    """Why a variant that the harness made shows nothing about a property of an output; empty if it does show something."""
    if name not in ("shape", "dtype") or (variant.kind == GIVEN and not audited.made_up):
        return ""  # strides differ between a caller's own arguments too
    followed = [
        place
        for place, leaf in enumerate(variant.sample.leaves)
        if isinstance(leaf, Tensor) and getattr(TensorMeta.of(leaf), name) == getattr(faked, name)
    ]
    if not followed or not all(_unread(audited, place) for place in followed):
        return ""
    what = f"real does not read {audited.names(variant.sample)[followed[0]]!r}, from which the fake takes the {name}"
    return f"{what}; whether callers give another {name} there is not known [{variant.label}]"


def _unread(audited: AuditedOp, place: int) -> bool:
    """Whether other values in an argument change no output of any sample."""
    changes = [_changes(audited, given, place) for given in audited.given]
    return False in changes and True not in changes


def _changes(audited: AuditedOp, variant: Variant, place: int) -> bool | None:
    """Whether zeros in an argument change an output of a variant; None where they are there already, or are refused."""
    sample = audited.fresh(variant)
    leaf = sample.leaves[place] if place < len(sample.leaves) else None
    if not isinstance(leaf, Tensor) or 0 in leaf.stride():
        return None
    bits = movable(leaf)
    if not bits.count_nonzero():
        return None
    bits.zero_()
    try:
        return bool(difference(audited.real(variant).out, audited.call(sample), exact=True))
    except ERRORS:
        return None
