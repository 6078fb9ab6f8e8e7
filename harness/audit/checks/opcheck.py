"""The tests of ``torch.library.opcheck``, each finding in one line. Before torch 2.12 it ignores strides on the CPU."""

import re

import torch
from torch import Tensor

from harness.audit.calling.calls import ERRORS
from harness.audit.checks.autograd import requires_gradients, with_gradients
from harness.audit.checks.compiled import _VIEWS, ALIASES, SHARES
from harness.audit.context import AuditedOp
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.tensors import exact_copy
from harness.base.exception_text import first_line

# (pattern in torch's message, our text). ``\1`` is the first group of the pattern.
_TEXTS = (
    (ALIASES, SHARES),
    (
        r"Argument (\w+) is not defined as mutable but was mutated",
        r"it writes to its argument '\1', which is not declared",
    ),
    (
        r"Argument (\w+) is not defined to alias output but was aliasing",
        r"an output shares memory with '\1', which is not declared",
    ),
    (r"Outputs (\d+) and (\d+) alias unexpectedly", r"outputs \1 and \2 share memory, which is not declared"),
    (r"no fake impl|UnsupportedOperatorException|'Meta' backend", "there is no fake"),
    (r"mismatched tensor metadata(?: for output\[\d+\])?: (.{0,120})", r"real and fake disagree: \1"),
    (r"found mismatch in (.{0,100})", r"real and fake disagree: \1"),
    (r"Outputs of the operator are different in eager", "eager and AOTAutograd give different values"),
    (r"do not match: (.{0,120})", r"real and fake disagree: \1"),
    (r"mismatch(?:ed|es)?[^.]{0,60}dtype|dtypes? .{0,40} (?:are )?not equal", "real and fake disagree on a dtype"),
    (r"output has alias annotations: \S+\(", "torch cannot functionalise an op with this schema"),
    (
        r"outputs? .{0,30}require(?:s)?_grad=True",
        "an output requires a gradient, but no autograd formula is registered",
    ),
)


def schema(audited: AuditedOp) -> CheckResult:
    """Mutation and aliasing against the schema."""
    return _run(audited, "test_schema")


def autograd(audited: AuditedOp) -> CheckResult:
    """The registration of the autograd formula."""
    return _run(audited, "test_autograd_registration", gradients=True)


def fake(audited: AuditedOp) -> CheckResult:
    """The fake against the real implementation."""
    return _run(audited, "test_faketensor")


def aot(audited: AuditedOp) -> CheckResult:
    """Through AOTAutograd with dynamic shapes."""
    return _run(audited, "test_aot_dispatch_dynamic")


def _run(audited: AuditedOp, test: str, gradients: bool = False) -> CheckResult:
    ran = 0
    for variant in audited.one_of_each():
        sample = with_gradients(audited, variant) if gradients else audited.fresh(variant)
        if sample is None:
            continue
        kwargs = exact_copy(sample.kwargs) if not gradients else sample.kwargs
        try:
            torch.manual_seed(0)
            with torch.enable_grad():
                torch.library.opcheck(audited.op, sample.args, kwargs, test_utils=test)
        except ERRORS as error:
            known = _limit_of_torch(
                error, sample.leaves, any(output.alias_info for output in audited.op._schema.returns)
            )
            if known:
                return not_run(known)
            if gradients and not requires_gradients(variant):
                return not_applicable("no sample requires a gradient", f"with gradients: {plain_text(error)}")
            return breaks(plain_text(error), variant.label)
        ran += 1
    return holds(f"{ran} variants") if ran else not_applicable("no argument can have a gradient")


def _limit_of_torch(error: BaseException, leaves: list[object], view: bool) -> str:
    """The text of a failure of the test itself, not of the op; else empty."""
    small = [str(leaf.dtype) for leaf in leaves if isinstance(leaf, Tensor) and leaf.dtype.itemsize == 1]
    text = str(error)
    if "Float8" in text or ("not implemented for" in text and any("float8" in name for name in small)):
        return "opcheck compares float8 tensors with an operation that torch does not have on this device"
    if "not implemented for 'Float4" in text:
        return "opcheck copies float4 tensors with an operation that torch does not have on this device"
    if view and any(known in text for known in _VIEWS):
        return "torch does not functionalise a custom op whose output is declared as a view of an input"
    return ""


def plain_text(error: BaseException) -> str:
    """Torch's finding in one line."""
    cause = error.__cause__ or error
    text = str(cause)
    for pattern, ours in _TEXTS:
        match = re.search(pattern, text, re.DOTALL)
        if match:
            return " ".join(match.expand(ours).split())[:200]
    return f"{type(cause).__name__}: {first_line(cause)}"[:200]
