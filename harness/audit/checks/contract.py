"""Real against fake: existence, count, shape, stride, offset, dtype and device, on every variant."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.audit.context import Audited, outputs
from harness.audit.ops import fake_function, is_composite, source_of
from harness.audit.row import Seen, breaks, holds, not_applicable, not_run
from harness.audit.symbols import Settled
from harness.audit.variants import Variant
from harness.findings.exception_text import first_line
from harness.observers.contract import differs
from harness.ops.tensor_meta import TensorMeta

_MISSING = ("UnsupportedOperatorException", "NotImplementedError")
_READS = ("DataDependentOutputException", "GuardOnDataDependentSymNode", "UserError")
_READ_WORDS = ("data_ptr", "data pointer", "numpy()", "tolist", "_local_scalar_dense", "unbacked")


def words(error: BaseException) -> str:
    """An error in one line: its class and first line."""
    return f"{type(error).__name__}: {first_line(error)}"


def missing(error: BaseException) -> bool:
    """Whether this error says that there is no fake at all."""
    name, text = type(error).__name__, str(error)
    told = "no fake impl" in text or "fake impl" in text or "'Meta' backend" in text or "meta kernel" in text.lower()
    return name == _MISSING[0] or (name in _MISSING and told)


def reads_data(error: BaseException) -> bool:
    """Whether this error says that the fake asked for a tensor's data."""
    return type(error).__name__ in _READS or any(word in str(error) for word in _READ_WORDS)


def fake(audited: Audited) -> Seen:
    """There is a fake, and it takes whatever the real implementation takes."""
    variants = audited.accepted or _unrun(audited)
    for variant in variants:
        error = audited.fake(variant).error
        if error is None or (reads_data(error) and not missing(error)):
            continue  # what it reads is another row's business
        if missing(error):
            return breaks("there is no fake (meta) implementation: torch.compile cannot trace the op", variant.label)
        if audited.accepted:
            return breaks(f"the fake refuses what the real implementation takes: {words(error)}", variant.label)
        return not_run(f"the fake raised {words(error)}, and no real implementation runs here to compare with")
    notes = _laxer(audited)
    if is_composite(audited.op):
        return not_applicable("composite: torch traces through the op, which needs no fake", *notes)
    where = source_of(fake_function(audited.op))
    return holds(f"takes {len(variants)} variants" + (f"; {where}" if where else ""), *notes)


def _unrun(audited: Audited) -> list[Variant]:
    return [Variant("as given", "as given", sample) for sample in audited.samples]


def _laxer(audited: Audited) -> list[str]:
    """Variants that the fake takes and the real implementation refuses: found out only when compiled code runs."""
    lax = [variant for variant, _ in audited.refused if audited.accepted and audited.fake(variant).error is None]
    if not lax:
        return []
    more = f" and {len(lax) - 1} more" if len(lax) > 1 else ""
    return [f"the fake takes what the real implementation refuses: {lax[0].label}{more}"]


def data_reads(audited: Audited) -> Seen:
    """The fake reads no data: asked without symbols, where a read cannot be put off."""
    variants = audited.accepted or _unrun(audited)
    answered = 0
    for variant in variants:
        asked = audited.run_fake(variant.sample, FakeTensorMode())
        error = asked.error
        if error is None or missing(error):
            answered += error is None
        elif type(error).__name__ == "DynamicOutputShapeException" and not _item(error):
            return holds("the output's size depends on data, which the fake says with a symbol and reads nothing")
        elif reads_data(error):
            return breaks(f"the fake asks for a tensor's data: {words(error)}", variant.label)
    if is_composite(audited.op):
        return not_applicable("composite: the op has no fake of its own")
    return holds(f"asked {answered} times") if answered else not_run("the fake answered nowhere; see the row `fake`")


def _item(error: BaseException) -> bool:
    return "_local_scalar_dense" in str(error)


def _pairs(audited: Audited) -> Iterator[tuple[Variant, list[Any], list[Any]]]:
    """(variant, real outputs, fake outputs) wherever both answered."""
    for variant in audited.accepted:
        faked = audited.fake(variant)
        if faked.error is None:
            yield variant, outputs(audited.real(variant).out), outputs(faked.out)


def count(audited: Audited) -> Seen:
    """Real and fake give as many outputs, tensors for tensors."""
    seen = 0
    for variant, real, faked in _pairs(audited):
        seen += 1
        if len(real) != len(faked):
            return breaks(f"real gives {len(real)} outputs, its fake {len(faked)}", variant.label)
        for place, (ours, theirs) in enumerate(zip(real, faked, strict=True)):
            if isinstance(ours, Tensor) != isinstance(theirs, Tensor):
                kinds = f"real gives a {type(ours).__name__}, its fake a {type(theirs).__name__}"
                return breaks(f"output {place}: {kinds}", variant.label)
    return holds(f"on {seen} variants") if seen else not_run("the fake answered on no variant; see the row `fake`")


def shape(audited: Audited) -> Seen:
    """Every shape."""
    return _field(audited, "shape")


def stride(audited: Audited) -> Seen:
    """Every stride that means something: of dimensions longer than one, of tensors with elements."""
    return _field(audited, "stride")


def offset(audited: Audited) -> Seen:
    """Every storage offset."""
    return _field(audited, "offset")


def dtype(audited: Audited) -> Seen:
    """Every dtype."""
    return _field(audited, "dtype")


def device(audited: Audited) -> Seen:
    """Every device type."""
    return _field(audited, "device")


def _field(audited: Audited, name: str) -> Seen:
    compared, last = 0, ""
    for variant, real, faked in _pairs(audited):
        if len(real) != len(faked):
            last = "the number of outputs differs; see the row `count`"
            continue
        settled = Settled()
        for place, (ours, theirs) in enumerate(zip(real, faked, strict=True)):
            if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor):
                continue
            found, last = _one(ours, settled.meta(theirs, ours), name)
            compared += not last
            found = found or (settled.impossible if name == "shape" else "")
            if found:
                where = f"output {place}: " if len(real) > 1 else ""
                return breaks(where + found, variant.label)
    if compared:
        return holds(f"on {compared} outputs")
    return not_applicable(last or "no output to compare: the op returns no tensor, or the fake answered nowhere")


def _one(real: Tensor, faked: TensorMeta, name: str) -> tuple[str, str]:
    """How one output differs in one property; or why it cannot be compared."""
    ours = TensorMeta.of(real)
    if name in ("stride", "offset") and ours.shape != faked.shape:
        return "", "the shapes differ; see the row `shape`"
    if name == "offset" and 0 in ours.shape:
        return "", ""
    return differs(ours, replace(ours, **{name: getattr(faked, name)})), ""
