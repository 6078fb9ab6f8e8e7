"""The fake against the real implementation, on every variant: count, shape, stride, offset, dtype and device."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.audit.checks.data import data_decides
from harness.audit.checks.imports import fake_not_imported
from harness.audit.context import AuditedOp, outputs
from harness.audit.ops import fake_function, is_composite, source_of
from harness.audit.row import CheckResult, breaks, holds, not_applicable, not_run
from harness.audit.symbols import SymbolResolver
from harness.audit.variants.kinds import Variant
from harness.base.exception_text import first_line
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta

_MISSING = ("UnsupportedOperatorException", "NotImplementedError")
_READS = ("DataDependentOutputException", "GuardOnDataDependentSymNode", "UserError")
_READ_TEXTS = ("data_ptr", "data pointer", "numpy()", "tolist", "_local_scalar_dense", "unbacked")


def error_line(error: BaseException) -> str:
    """An error in one line: its class and the first line of its text."""
    return f"{type(error).__name__}: {first_line(error)}"


def missing(error: BaseException) -> bool:
    """Whether this error says that the op has no fake."""
    name, text = type(error).__name__, str(error)
    says_so = "no fake impl" in text or "fake impl" in text or "'Meta' backend" in text or "meta kernel" in text.lower()
    return name == _MISSING[0] or (name in _MISSING and says_so)


def reads_data(error: BaseException) -> bool:
    """Whether this error says that the fake read the data of a tensor."""
    return type(error).__name__ in _READS or any(text in str(error) for text in _READ_TEXTS)


def fake(audited: AuditedOp) -> CheckResult:
    """There is a fake, and it accepts whatever the real implementation accepts."""
    variants = audited.accepted or _unrun(audited)
    for variant in variants:
        error = audited.fake(variant).error
        if error is None or (reads_data(error) and not missing(error)):
            continue  # a read of data breaks the row `data reads`, not this one
        if is_composite(audited.op):
            return breaks(_traced(error), variant.label)
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


_INNER = re.compile(r"(\w+::\w+|\b\w+\.\w+(?=\.\w+$))")


def _unrun(audited: AuditedOp) -> list[Variant]:
    return [Variant("as given", "as given", sample) for sample in audited.samples]


def _lax_notes(audited: AuditedOp) -> list[str]:
    """Variants that the fake accepts and the real implementation refuses. Users see that only when compiled code runs."""
    lax = [variant for variant, _ in audited.refused if audited.accepted and audited.fake(variant).error is None]
    if not lax:
        return []
    more = f" and {len(lax) - 1} more" if len(lax) > 1 else ""
    return [f"the fake accepts what the real implementation refuses: {lax[0].label}{more}"]


def data_reads(audited: AuditedOp) -> CheckResult:
    """The fake reads no data. It runs without a ShapeEnv, where a read raises instead of giving a symbol."""
    variants = audited.accepted or _unrun(audited)
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
    return (
        holds(f"on {compared} variants")
        if compared
        else not_run("the fake raises on every variant; see the row `fake`")
    )


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
    compared, last = 0, ""
    for variant, real, faked in _pairs(audited):
        if len(real) != len(faked):
            last = "the number of outputs differs; see the row `count`"
            continue
        resolver = SymbolResolver()
        for place, (ours, theirs) in enumerate(zip(real, faked, strict=True)):
            if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor):
                continue
            different, last = _one(ours, resolver.meta(theirs, ours), name)
            compared += not last
            different = different or (resolver.impossible if name == "shape" else "")
            if different:
                where = f"output {place}: " if len(real) > 1 else ""
                return breaks(where + different + data_decides(audited, variant, place, name), variant.label)
    if compared:
        return holds(f"on {compared} outputs")
    if not any(True for _ in _pairs(audited)):
        return not_run("the fake raises on every variant; see the row `fake`")
    return not_applicable(last or "no output to compare: the op returns no tensor")


def _one(real: Tensor, faked: TensorMeta, name: str) -> tuple[str, str]:
    """(how one output differs in one property, why it cannot be compared); both may be empty."""
    ours = TensorMeta.of(real)
    if name in ("stride", "offset") and ours.shape != faked.shape:
        return "", "the shapes differ; see the row `shape`"
    if name == "offset" and 0 in ours.shape:
        return "", ""
    return differs(ours, replace(ours, **{name: getattr(faked, name)})), ""
