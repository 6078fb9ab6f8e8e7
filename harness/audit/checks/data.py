"""Outputs whose rank or dtype depends on the data of an argument. No fake can be right about them."""

from torch import Tensor

from harness.audit.calls import ERRORS, outputs
from harness.audit.context import AuditedOp
from harness.audit.variants.kinds import DTYPE, Variant
from harness.ops.arguments import metas


def data_decides(audited: AuditedOp, variant: Variant, place: int, name: str) -> str:
    """Says so if the rank or the dtype of an output is another for other data; empty if no call shows that.

    The other call has arguments of the same metadata, or the fake itself says that this output's size depends on data.
    """
    what = {"shape": "rank", "dtype": "dtype"}.get(name)
    ours = _of(audited, variant, place)
    if what is None or ours is None:
        return ""
    for other in audited.accepted:
        theirs = _of(audited, other, place)
        symbolic = what == "rank" and other.kind != DTYPE and _symbolic(audited, variant, place)
        if theirs is None or not (symbolic or _alike(variant, other)):
            continue
        values = [(x.dim(), x.dtype)[what == "dtype"] for x in (ours, theirs)]
        if values[0] != values[1]:
            here, there = (str(value).removeprefix("torch.") for value in values)
            return (
                f": the {what} itself depends on data ({here} here, {there} in {other.label!r}): no fake can be right"
            )
    return ""


def _of(audited: AuditedOp, variant: Variant, place: int) -> Tensor | None:
    try:
        out = outputs(audited.real(variant).out)
    except ERRORS:
        return None
    return out[place] if place < len(out) and isinstance(out[place], Tensor) else None


def _alike(one: Variant, other: Variant) -> bool:
    """Whether a fake sees the same arguments in both."""
    sides = [variant.sample.leaves for variant in (one, other)]
    numbers = [[leaf for leaf in side if not isinstance(leaf, Tensor)] for side in sides]
    return metas(tuple(sides[0])) == metas(tuple(sides[1])) and numbers[0] == numbers[1]


def _symbolic(audited: AuditedOp, variant: Variant, place: int) -> bool:
    """Whether the fake gives an output with a data-dependent size here."""
    out = outputs(audited.fake(variant).out)
    fake = out[place] if place < len(out) else None
    return isinstance(fake, Tensor) and any(not isinstance(size, int) for size in fake.shape)
