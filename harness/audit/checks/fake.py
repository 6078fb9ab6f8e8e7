"""There is a fake, and it accepts what the real implementation accepts."""

import re

from harness.audit.checks.compiled import traced
from harness.audit.checks.fake_errors import error_line, missing, reads_data
from harness.audit.checks.imports import fake_not_imported
from harness.audit.context import AuditedOp
from harness.audit.ops import fake_function, has_kernel, is_composite, source_of
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run

_INNER = re.compile(r"(\w+::\w+|\b\w+\.\w+(?=\.\w+$))")


def fake(audited: AuditedOp) -> CheckResult:
    """There is a fake, and it accepts whatever the real implementation accepts."""
    variants = audited.judged_fakes()
    for variant in variants:
        error = audited.fake(variant).error
        if error is None or (reads_data(error) and not missing(error)):
            continue  # a read of data breaks the row `data reads`, not this one
        if is_composite(audited.op):
            return breaks(_traced(error), variant.label)
        if missing(error) and has_kernel(audited.op, "CompositeExplicitAutograd") and traced(audited, variant):
            what = "torch.compile traces it by its own implementation, which serves as its fake"
            return holds(f"{what}; called on fake tensors elsewhere, it raises {error_line(error)}")
        if missing(error):
            return breaks("there is no fake (meta) implementation: torch.compile cannot trace the op", variant.label)
        if audited.accepted:
            return breaks(f"the fake refuses what the real implementation accepts: {error_line(error)}", variant.label)
        return not_run(f"the fake raises {error_line(error)}, and no real implementation runs here to compare with")
    notes = _lax_notes(audited)
    if is_composite(audited.op):
        return not_applicable("composite: torch traces through the op, so it needs no fake", *notes)
    elsewhere = fake_not_imported(audited)
    if elsewhere:
        return breaks(elsewhere)
    where = source_of(fake_function(audited.op))
    return holds(f"accepts {len(variants)} variants" + (f"; {where}" if where else ""), *notes)


def _traced(error: BaseException) -> str:
    """Why torch cannot trace through a composite op."""
    inner = _INNER.search(str(error))
    registered = "the op is registered as CompositeImplicitAutograd, so torch traces through it"
    if inner and (missing(error) or "no fake impl" in str(error)):
        return f"{registered}, and {inner[1].replace('.', '::', 1)}, which it calls, has no fake"
    other = "register it for CPU and CUDA, or as CompositeExplicitAutograd, and give it a fake"
    return f"{registered}, which raises {error_line(error)}; if it is not made of torch ops, {other}"


def _lax_notes(audited: AuditedOp) -> list[str]:
    """Variants that the fake accepts and the real implementation refuses. Users see that only when compiled code runs."""
    lax = [variant for variant, _ in audited.refused if audited.accepted and audited.fake(variant).error is None]
    if not lax:
        return []
    more = f" and {len(lax) - 1} more" if len(lax) > 1 else ""
    return [f"the fake accepts what the real implementation refuses: {lax[0].label}{more}"]
