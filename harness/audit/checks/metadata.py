"""The metadata of real and fake outputs, on every variant: count, shape, stride, offset, dtype and device."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from harness.audit.calling.calls import outputs
from harness.audit.checks.data import data_decides
from harness.audit.checks.fake_errors import no_fake
from harness.audit.checks.unread import unread
from harness.audit.context import AuditedOp
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.symbols import SymbolResolver
from harness.audit.variants.kinds import Variant
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta


def _pairs(audited: AuditedOp) -> Iterator[tuple[Variant, list[Any], list[Any]]]:
    """(variant, real outputs, fake outputs) for each variant on which neither raised."""
    for variant in audited.accepted:
        faked = audited.fake(variant)
        if faked.error is None:
            yield variant, outputs(audited.real(variant).out), outputs(faked.out)


def count(audited: AuditedOp) -> CheckResult:
    """Real and fake return the same number of outputs, and tensors at the same places."""
    compared = 0
    for variant, real, faked in _pairs(audited):
        compared += 1
        if len(real) != len(faked):
            return breaks(f"real gives {len(real)} outputs, its fake {len(faked)}", variant.label)
        for place, (ours, theirs) in enumerate(zip(real, faked, strict=True)):
            if isinstance(ours, Tensor) != isinstance(theirs, Tensor):
                kinds = f"real gives a {type(ours).__name__}, its fake a {type(theirs).__name__}"
                return breaks(f"output {place}: {kinds}", variant.label)
    return holds(f"on {compared} variants") if compared else not_run(no_fake(audited))


def shape(audited: AuditedOp) -> CheckResult:
    """Every shape."""
    return _field(audited, "shape")


def stride(audited: AuditedOp) -> CheckResult:
    """Every stride that matters: of dimensions longer than one, in tensors with elements."""
    return _field(audited, "stride")


def offset(audited: AuditedOp) -> CheckResult:
    """Every storage offset."""
    return _field(audited, "offset")


def dtype(audited: AuditedOp) -> CheckResult:
    """Every dtype."""
    return _field(audited, "dtype")


def device(audited: AuditedOp) -> CheckResult:
    """Every device type."""
    return _field(audited, "device")


def _field(audited: AuditedOp, name: str) -> CheckResult:
    compared, last, doubt = 0, "", ""
    for variant, real, faked in _pairs(audited):
        if len(real) != len(faked):
            last = "the number of outputs differs; see the row `count`"
            continue
        resolver = SymbolResolver()
        for place, (ours, theirs) in enumerate(zip(real, faked, strict=True)):
            if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor):
                continue
            meta = resolver.meta(theirs, ours)
            different, last = _one(ours, meta, name)
            different = different or (resolver.impossible if name == "shape" else "")
            unsure = unread(audited, variant, meta, name) if different else ""
            doubt = unsure or doubt
            if different and not unsure:
                where = f"output {place}: " if len(real) > 1 else ""
                return breaks(where + different + data_decides(audited, variant, place, name), variant.label)
            compared += not last and not different
    if compared:
        return holds(f"on {compared} outputs", *([doubt] if doubt else []))
    if doubt:
        return not_run(doubt)
    if not any(True for _ in _pairs(audited)):
        return not_run(no_fake(audited))
    return not_applicable(last or "no output to compare: the op returns no tensor")


def _one(real: Tensor, faked: TensorMeta, name: str) -> tuple[str, str]:
    """(how one output differs in one property, why it cannot be compared); both may be empty."""
    ours = TensorMeta.of(real)
    if name in ("stride", "offset") and ours.shape != faked.shape:
        return "", "the shapes differ; see the row `shape`"
    if name == "offset" and 0 in ours.shape:
        return "", ""
    return differs(ours, replace(ours, **{name: getattr(faked, name)})), ""
