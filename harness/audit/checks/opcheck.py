"""What torch's own ``torch.library.opcheck`` finds, in one line each. It compares no strides on a CPU before 2.12."""

import re

import torch
from torch import Tensor

from harness.audit.checks.autograd import asked_for, with_gradients
from harness.audit.checks.compiled import _VIEWS
from harness.audit.context import ERRORS, Audited
from harness.audit.row import Seen, breaks, holds, not_applicable, not_run
from harness.audit.tensors import faithful
from harness.findings.exception_text import first_line

# Torch's words: (pattern, ours). ``\1`` is what the pattern found.
_BETTER = (
    (r"Argument (\w+) is not defined as mutable but was mutated", r"it writes to its argument '\1', undeclared"),
    (r"Argument (\w+) is not defined to alias output but was aliasing", r"an output shares memory of '\1', undeclared"),
    (r"Outputs (\d+) and (\d+) alias unexpectedly", r"outputs \1 and \2 share memory, undeclared"),
    (r"no fake impl|UnsupportedOperatorException|'Meta' backend", "there is no fake"),
    (r"mismatched tensor metadata(?: for output\[\d+\])?: (.{0,120})", r"real and fake disagree: \1"),
    (r"found mismatch in (.{0,100})", r"real and fake disagree: \1"),
    (r"Outputs of the operator are different in eager", "eager and AOTAutograd give different values"),
    (r"do not match: (.{0,120})", r"real and fake disagree: \1"),
    (r"mismatch(?:ed|es)?[^.]{0,60}dtype|dtypes? .{0,40} (?:are )?not equal", "real and fake disagree on a dtype"),
    (r"output has alias annotations: \S+\(", "torch cannot functionalise an op of this schema"),
    (r"outputs? .{0,30}require(?:s)?_grad=True", "an output requires a gradient, and no formula is registered"),
)


def schema(audited: Audited) -> Seen:
    """Mutation and alias against the schema."""
    return _run(audited, "test_schema")


def autograd(audited: Audited) -> Seen:
    """The registration of gradients."""
    return _run(audited, "test_autograd_registration", gradients=True)


def fake(audited: Audited) -> Seen:
    """Real against fake."""
    return _run(audited, "test_faketensor")


def aot(audited: Audited) -> Seen:
    """Through AOTAutograd with dynamic shapes."""
    return _run(audited, "test_aot_dispatch_dynamic")


def _run(audited: Audited, test: str, gradients: bool = False) -> Seen:
    ran = 0
    for variant in audited.one_of_each():
        sample = with_gradients(audited, variant) if gradients else audited.fresh(variant)
        if sample is None:
            continue
        kwargs = faithful(sample.kwargs) if not gradients else sample.kwargs
        try:
            torch.manual_seed(0)
            with torch.enable_grad():
                torch.library.opcheck(audited.op, sample.args, kwargs, test_utils=test)
        except ERRORS as error:
            known = _torchs_own(error, sample.leaves, any(told.alias_info for told in audited.op._schema.returns))
            if known:
                return not_run(known)
            if gradients and not asked_for(variant):
                return not_applicable("no sample requires a gradient", f"with gradients: {better(error)}")
            return breaks(better(error), variant.label)
        ran += 1
    return holds(f"{ran} variants") if ran else not_applicable("no argument that could have a gradient")


def _torchs_own(error: BaseException, leaves: list[object], view: bool) -> str:
    """A failure of the test itself and not of the op."""
    small = [str(leaf.dtype) for leaf in leaves if isinstance(leaf, Tensor) and leaf.dtype.itemsize == 1]
    if "Float8" in str(error) or ("not implemented for" in str(error) and any("float8" in name for name in small)):
        return "torch's test compares float8 tensors with an operation that it does not have on this device"
    if view and any(text in str(error) for text in _VIEWS):
        return "torch functionalises no custom op whose output is declared a view of its input"
    return ""


def better(error: BaseException) -> str:
    """Torch's finding in one plain line."""
    cause = error.__cause__ or error
    text = str(cause)
    for pattern, ours in _BETTER:
        found = re.search(pattern, text, re.DOTALL)
        if found:
            return " ".join(found.expand(ours).split())[:200]
    return f"{type(cause).__name__}: {first_line(cause)}"[:200]
