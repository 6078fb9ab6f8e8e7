"""What an error of a fake says: that there is none, or that it reads data."""

from harness.audit.context import AuditedOp
from harness.audit.ops import has_kernel
from harness.base.exception_text import refusal_text

_MISSING = ("UnsupportedOperatorException", "NotImplementedError")
_READS = ("DataDependentOutputException", "GuardOnDataDependentSymNode", "UserError")
_READ_TEXTS = ("data_ptr", "data pointer", "numpy()", "tolist", "_local_scalar_dense", "unbacked")


def error_line(error: BaseException) -> str:
    """An error in one line: its class, its text, and its place where the text says nothing."""
    return refusal_text(error)


def missing(error: BaseException) -> bool:
    """Whether this error says that the op has no fake."""
    name, text = type(error).__name__, str(error)
    says_so = "no fake impl" in text or "fake impl" in text or "'Meta' backend" in text or "meta kernel" in text.lower()
    return name == _MISSING[0] or (name in _MISSING and says_so)


def reads_data(error: BaseException) -> bool:
    """Whether this error says that the fake read the data of a tensor."""
    return type(error).__name__ in _READS or any(text in str(error) for text in _READ_TEXTS)


def no_fake(audited: AuditedOp) -> str:
    """Why no output of a fake can be compared: there is no fake, or it raises."""
    errors = [audited.fake(variant).error for variant in audited.accepted]
    absent = bool(errors) and all(error is not None and missing(error) for error in errors)
    where = " outside of torch.compile" if has_kernel(audited.op, "CompositeExplicitAutograd") else ""
    return f"{f'there is no fake{where}' if absent else 'the fake raises on every variant'}; see the row `fake`"
