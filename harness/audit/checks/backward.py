"""The compiled backward: values and strides of each gradient, against eager's and against what the fakes promise."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.audit.calling.calls import ERRORS
from harness.audit.checks.autograd import with_gradients
from harness.audit.checks.compiled import cause, inductor_backend
from harness.audit.context import AuditedOp
from harness.audit.ops import has_formula, is_composite
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.samples import Sample
from harness.audit.tensors import difference, tensors
from harness.audit.variants.kinds import GIVEN, OTHER, Variant
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta

_NONE = "no autograd formula is registered: the op is for inference"
_KINDS = (GIVEN, "permuted", OTHER)  # each compiles twice
Gradients = list[Tensor | None]


def backward(audited: AuditedOp) -> CheckResult:
    """Each given sample, and one of each other size: the gradients of eager, of the fakes, and of compiled code."""
    if not has_formula(audited.op):
        return not_applicable(_NONE)
    if is_composite(audited.op):
        return not_applicable("composite: torch traces through the op, and differentiates what it finds")
    variants = [variant for variant in audited.one_of_each() if variant.kind in _KINDS]
    compared = 0
    for variant in variants:
        found = _look(audited, variant)
        if found is not None and found.what:
            return found
        compared += found is not None
    if not compared:
        return not_applicable("no output has a gradient")
    return holds(f"{compared} variants, by the fakes, aot_eager and Inductor")


def _look(audited: AuditedOp, variant: Variant) -> CheckResult | None:
    """What is wrong with the gradients of one variant; empty if nothing is, None if it has no gradients to compare."""
    sample = with_gradients(audited, variant)
    if sample is None:
        return None
    try:
        eager = _gradients(audited, sample, audited.call)
    except ERRORS:
        return None  # the row `autograd` says so
    if not tensors(eager):
        return None
    try:
        text = _against_fakes(audited, sample, eager)
        for name, backend in (("aot_eager", "aot_eager"), ("inductor", inductor_backend(audited))):
            text = text or _against_compiled(audited, variant, name, backend, eager)
    except ERRORS as error:
        return not_run(f"the gradients cannot be compared: {cause(error)}")
    return breaks(text, variant.label) if text else holds("")


def _gradients(audited: AuditedOp, sample: Sample, call: Callable[[Sample], Any]) -> Gradients:
    """The gradient of each argument that requires one; None where the formula gives none."""
    wanted = [leaf for leaf in sample.leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    with torch.enable_grad():
        out = [leaf for leaf in tensors(call(sample)) if leaf.requires_grad]
        if not out:
            return []
        return list(torch.autograd.grad(out, wanted, [_incoming(leaf) for leaf in out], allow_unused=True))


def _incoming(out: Tensor) -> Tensor:
    """A gradient for an output with the output's strides, which a compiler assumes; not 1, so that a factor shows."""
    return torch.full_like(out, 0.5, requires_grad=False)


def _against_fakes(audited: AuditedOp, sample: Sample, eager: Gradients) -> str:
    """How the gradients' metadata differ from what the formula gives on fake tensors, which is what a compiler believes."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    leaves = [
        mode.from_tensor(leaf, static_shapes=True).detach().requires_grad_(leaf.requires_grad)
        if isinstance(leaf, Tensor)
        else leaf
        for leaf in sample.leaves
    ]
    with enable_python_dispatcher(), torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
        faked = _gradients(audited, sample.with_leaves(leaves), lambda given: audited.op(*given.args, **given.kwargs))
    names = audited.names(sample)
    wanted = [
        names[place] for place, leaf in enumerate(sample.leaves) if isinstance(leaf, Tensor) and leaf.requires_grad
    ]
    for name, real, fake in zip(wanted, eager, faked, strict=False):
        if isinstance(real, Tensor) and isinstance(fake, Tensor):
            different = differs(TensorMeta.of(real), TensorMeta.of(fake))
            if different:
                return f"the gradient of {name!r}: {different}"
    return ""


def _against_compiled(audited: AuditedOp, variant: Variant, name: str, backend: Any, eager: Gradients) -> str:
    """How the gradients of compiled code differ in values. Its strides are its own choice where no op fixes them."""
    torch._dynamo.reset()
    sample = with_gradients(audited, variant)
    assert sample is not None
    op = audited.op

    def function(*leaves: Any) -> Any:
        given = sample.with_leaves(list(leaves))
        return op(*given.args, **given.kwargs)

    compiled = torch.compile(function, backend=backend, fullgraph=True, dynamic=False)
    try:
        torch.manual_seed(0)
        got = _gradients(audited, sample, lambda given: compiled(*given.leaves))
    except ERRORS as error:
        return f"compiled by {name}, the backward raises {cause(error)}"
    different = difference(eager, got)
    return f"eager and {name} give gradients that differ: {different}" if different else ""
