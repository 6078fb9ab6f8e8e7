"""What depends on the data of a tensor: a fake that reads it, and an output whose rank or dtype it decides."""

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.audit.calling.calls import ERRORS, outputs
from harness.audit.checks.fake_errors import error_line, missing, no_fake, reads_data
from harness.audit.context import AuditedOp
from harness.audit.ops import is_composite
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.variants.kinds import DTYPE, Variant
from harness.audit.wording import variant_name
from harness.ops.arguments import metas


def data_reads(audited: AuditedOp) -> CheckResult:
    """The fake reads no data. It runs without a ShapeEnv, where a read raises instead of giving a symbol."""
    variants = audited.judged_fakes()
    answered, composite = 0, is_composite(audited.op)
    for variant in variants:
        error = audited.run_fake(variant.sample, FakeTensorMode()).error
        if error is None or missing(error):
            answered += error is None
        elif type(error).__name__ == "DynamicOutputShapeException" and not _item(error):
            return holds("the size of an output depends on data; the fake uses a symbol for it and reads nothing")
        elif reads_data(error):
            reader = "torch traces through the op (CompositeImplicitAutograd), which" if composite else "the fake"
            return breaks(f"{reader} reads the data of a tensor: {error_line(error)}", variant.label)
    if composite:
        return not_applicable("composite: the op has no fake of its own")
    return holds(f"on {answered} variants") if answered else not_run(no_fake(audited))


def _item(error: BaseException) -> bool:
    return "_local_scalar_dense" in str(error)


def data_decides(audited: AuditedOp, variant: Variant, place: int, name: str) -> str:
    """Says so if the rank or the dtype of an output is another for other data; empty if no call shows that.

    No fake can be right about such an output.

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
            where = variant_name(other.label, quoted=True)
            return f": the {what} itself depends on data ({here} here, {there} in {where}): no fake can be right"
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
