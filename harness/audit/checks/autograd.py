"""Gradients: whether an autograd formula is registered where torch looks for it, and whether a backward runs."""

import re
from typing import Any

import torch
from torch import Tensor

from harness.audit.calling.calls import ERRORS
from harness.audit.checks.fake_errors import error_line
from harness.audit.context import AuditedOp
from harness.audit.ops import has_formula
from harness.audit.registrations import custom_op
from harness.audit.row import CheckResult, breaks, holds, not_applicable
from harness.audit.samples import Sample
from harness.audit.tensors import tensors
from harness.audit.variants.kinds import Variant

_DIFFERENTIABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NO_FORMULA = "no autograd formula was registered"  # in torch's error
_REFUSED = re.compile(r"not differentiable with respect to argument '(\w+)'")


def with_gradients(audited: AuditedOp, variant: Variant) -> Sample | None:
    """The variant's arguments. Floats that the op does not write require gradients; None if there are none.

    An argument for which the formula has no gradient by design, such as running statistics, requires none.
    """
    refused: set[str] = set()
    while True:
        trial, sample = audited.fresh(variant), audited.fresh(variant)
        if not _require(audited, trial, refused) or not _require(audited, sample, refused):
            return None
        try:
            with torch.enable_grad():
                audited.call(trial)
        except ERRORS as error:
            match = _REFUSED.search(str(error))
            if match and match[1] not in refused:
                refused.add(match[1])
                continue
        return sample


def _require(audited: AuditedOp, sample: Sample, refused: set[str]) -> bool:
    """Make the differentiable arguments require gradients; whether there is one."""
    written, names = audited.written(sample), audited.names(sample)
    chosen = [
        leaf.requires_grad_()
        for place, leaf in enumerate(sample.leaves)
        if isinstance(leaf, Tensor)
        and place not in written
        and leaf.dtype in _DIFFERENTIABLE
        and names[place].partition("[")[0] not in refused
    ]
    return bool(chosen)


def autograd(audited: AuditedOp) -> CheckResult:
    """Run a registered formula once. Without one, the outputs must not look differentiable."""
    variant = audited.accepted[0]
    sample = with_gradients(audited, variant)
    if sample is None:
        return not_applicable("no argument can have a gradient")
    registered = has_formula(audited.op)
    try:
        with torch.enable_grad():
            out = audited.call(sample)
            differentiable = [leaf for leaf in tensors(out) if leaf.requires_grad]
            if differentiable and registered:
                torch.autograd.backward(
                    [leaf.float().sum() if leaf.is_floating_point() else leaf.sum() for leaf in differentiable]
                )
    except ERRORS as error:
        if not registered:
            return not_applicable(
                "no autograd formula is registered", f"with gradients enabled, the op raises {error_line(error)}"
            )
        if _NO_FORMULA in str(error) and not requires_gradients(variant):
            return not_applicable("composite: an op that it calls has no autograd formula", error_line(error))
        return breaks(f"an autograd formula is registered, but backward raises {error_line(error)}", variant.label)
    if not registered:
        return _without(audited, variant)
    return _with(audited, sample, variant, bool(differentiable))


def requires_gradients(variant: Variant) -> bool:
    """Whether tensors of the sample require gradients, so that its author expects the op to be differentiable."""
    return any(leaf.requires_grad for leaf in tensors(variant.sample.leaves))


def _without(audited: AuditedOp, variant: Variant) -> CheckResult:
    """Without a formula, torch's fallback raises in backward, unless the kernel itself tracks gradients."""
    mode = torch._C._get_autograd_fallback_mode()
    sample: Any = with_gradients(audited, variant)
    try:
        torch._C._set_autograd_fallback_mode("nothing")
        with torch.enable_grad():
            out = audited.call(sample)
    finally:
        torch._C._set_autograd_fallback_mode(mode)
    given = {id(leaf) for leaf in sample.leaves}
    if custom_op(audited.op) is None and any(leaf.requires_grad and id(leaf) not in given for leaf in tensors(out)):
        tracks = (
            "its kernel tracks gradients, but no formula is registered: eager code gets gradients, compiled code none"
        )
        return breaks(tracks, variant.label) if requires_gradients(variant) else not_applicable(_INFERENCE, tracks)
    if requires_gradients(variant):
        return breaks("the sample requires gradients, but no formula is registered", variant.label)
    return not_applicable(_INFERENCE)


_INFERENCE = "no autograd formula is registered: the op is for inference"


def _with(audited: AuditedOp, sample: Sample, variant: Variant, differentiable: bool) -> CheckResult:
    if not differentiable:
        return holds("an autograd formula is registered; no output is differentiable")
    names = audited.names(sample)
    without = []
    for place, leaf in enumerate(sample.leaves):
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            if leaf.grad is None:
                without.append(names[place])
            elif leaf.grad.shape != leaf.shape:
                return breaks(
                    f"the gradient of {names[place]!r} has shape {list(leaf.grad.shape)}, the argument {list(leaf.shape)}",
                    variant.label,
                )
    notes = [f"no gradient for {', '.join(without)}"] if without else []
    return holds("an autograd formula is registered, and backward runs", *notes)
