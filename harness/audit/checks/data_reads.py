"""The fake reads no data of a tensor."""

from torch._subclasses.fake_tensor import FakeTensorMode

from harness.audit.checks.fake_errors import error_line, missing, reads_data
from harness.audit.context import AuditedOp
from harness.audit.ops import is_composite
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run


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
    return (
        holds(f"on {answered} variants")
        if answered
        else not_run("the fake raises on every variant; see the row `fake`")
    )


def _item(error: BaseException) -> bool:
    return "_local_scalar_dense" in str(error)
