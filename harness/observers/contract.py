"""Contract: each custom op's fake returns exactly the metadata that its real implementation does."""

from dataclasses import replace

from harness.base.exception_text import first_line
from harness.execution.evidence import Record, Run
from harness.findings.finding import Finding, WidthOrigin
from harness.ops.fake_call import FakeCall
from harness.ops.returned import wrong_return
from harness.ops.tensor_meta import TensorMeta


def look(run: Run) -> list[Finding] | None:
    """At most one finding for each custom op whose fake was called beside it."""
    audited = [(call.label, record) for call in run.calls for record in call.records if record.fake]
    if not audited:
        return None
    first: dict[str, Finding] = {}
    for label, record in audited:
        finding = _judge(run, label, record)
        if finding:
            first.setdefault(record.op, finding)
    return list(first.values())


def _judge(run: Run, label: str, record: Record) -> Finding | None:
    fake = record.fake
    assert fake is not None
    if fake.error is not None and (returned := wrong_return(fake.error)):
        return replace(_finding(run, label, record, "fake-differs", f"its fake {returned}"), cause=_RETURNED)
    if fake.error is not None:
        what = f"its fake implementation raised {type(fake.error).__name__}: {first_line(fake.error)}"
        return _finding(run, label, record, "no-fake", what)
    if fake.signature_mismatch:
        return _finding(run, label, record, "signature", fake.signature_mismatch)
    if fake.writes:
        what = f"its fake implementation writes to {', '.join(fake.writes)}"
        return _finding(run, label, record, "fake-impure", what)
    if fake.outputs != fake.second_outputs:
        what = "its fake implementation returns something else when it is called a second time"
        return _finding(run, label, record, "fake-impure", what)
    if fake.before_real is not None:
        one, other = next(
            pair for pair in zip(fake.outputs or (), fake.before_real, strict=False) if pair[0] != pair[1]
        )
        what = f"its fake implementation gives {other} before a real call with these arguments, and {one} after it"
        return _finding(run, label, record, "fake-impure", what)
    return _outputs_differ(run, label, record, fake)


def _outputs_differ(run: Run, label: str, record: Record, fake: FakeCall) -> Finding | None:
    real, faked = record.outputs, fake.outputs or ()
    if len(real) != len(faked):
        what = f"real gives {len(real)} outputs, its fake {len(faked)}"
        return replace(_finding(run, label, record, "fake-differs", what), cause=_RETURNED)
    for index, (real_meta, fake_meta) in enumerate(zip(real, faked, strict=True)):
        difference = differs(real_meta, fake_meta)
        if difference:
            where = f"output {_named(run, record, index)}: " if len(real) > 1 else ""
            difference += _without_grad(fake, index)
            found = _finding(run, label, record, "fake-differs", f"{where}{difference}", real_meta, fake_meta)
            detail = found.detail | {"routed": _is_routed(run, record, index)}
            return replace(found, cause=_read_wrongly(run, record, index), detail=detail)
    for real_value, fake_value in zip(record.plain, fake.plain, strict=False):
        if None not in (real_value, fake_value) and real_value != fake_value:
            what = (
                f"real gives the number {real_value}, its fake {fake_value}, which compiled code takes for a constant"
            )
            return replace(_finding(run, label, record, "fake-differs", what), cause=_NUMBER)
    if fake.aliases and not record.undeclared_aliases:
        what = f"its fake implementation returns memory of {', '.join(fake.aliases)}, which real does not"
        return replace(_finding(run, label, record, "fake-differs", what), cause=_ALIASED)
    if fake.on_cuda:
        what = f"given fake CUDA tensors, its fake implementation {fake.on_cuda}"
        return replace(_finding(run, label, record, "fake-differs", what), cause=_ON_CUDA)
    return _differs_on_cuda(run, label, record, fake)


def _without_grad(fake: FakeCall, index: int) -> str:
    """What the fake gives outside grad mode, where that is something else."""
    if fake.outputs is None or fake.without_grad is None or fake.without_grad == fake.outputs:
        return ""
    other = fake.without_grad[index] if index < len(fake.without_grad) else None
    return f" in grad mode, and {other} outside of it"


def _differs_on_cuda(run: Run, label: str, record: Record, fake: FakeCall) -> Finding | None:
    """The finding of a fake that answers for CUDA tensors otherwise than for CPU tensors, where the op's implementation is one."""
    for on_cpu, on_cuda in zip(fake.outputs or (), fake.as_on_cuda or (), strict=False):
        if on_cpu is None or on_cuda is None:
            continue
        difference = differs(on_cpu, replace(on_cuda, device=on_cpu.device))
        if difference:
            on_both = difference.replace(", its fake", " for CPU tensors,").replace("real gives", "its fake gives")
            what = f"{on_both} for CUDA tensors"
            return replace(_finding(run, label, record, "fake-differs", what), cause=_BY_DEVICE)
    return None


def _is_routed(run: Run, record: Record, index: int) -> bool:
    """Whether an output may be the routed experts': False where the subject says that another one is."""
    return record.op != next(iter(run.ops), None) or run.routed_output in (None, index)


def _named(run: Run, record: Record, index: int) -> str:
    """An output's number, and whose it is where the subject says which one is the routed experts'."""
    if record.op != next(iter(run.ops), None) or run.routed_output is None:
        return str(index)
    if index == run.routed_output:
        return f"{index}, the routed experts'"
    other = record.outputs[index]
    is_shared = run.case.shared is not None and len(record.outputs) == 2 and other is not None and len(other.shape) == 2
    return f"{index}, the shared expert's" if is_shared else str(index)


def _read_wrongly(run: Run, record: Record, index: int) -> str:
    """What comes of a fake that gives another output than the op, and the fake's own line that makes it."""
    name = _named(run, record, index).partition(", ")[2]
    is_experts = record.op == next(iter(run.ops), None) and run.routed_output is None and len(record.outputs) == 1
    whose = name or ("the routed experts'" if is_experts else "the op's")
    lines = record.fake.lines if record.fake else ()
    line = lines[index] if index < len(lines) else None
    made = f" The fake makes it in {line}: {line.text}" if line and line != record.line else ""
    return (
        f"Compiled code trusts the fake, so it would read {whose} output wrongly.{made}{_UNCOMPILED * run.uncompiled}"
    )


def differs(real: TensorMeta | None, fake: TensorMeta | None) -> str:
    """The first property in which a real output differs from its fake, as text; empty where none does."""
    if real is None or fake is None:
        return "" if real is fake else f"real gives {real}, its fake {fake}"
    for name in ("shape", "dtype", "device"):
        if getattr(real, name) != getattr(fake, name):
            return f"real gives {name} {_show(getattr(real, name))}, its fake {_show(getattr(fake, name))}"
    if _strides(real) != _strides(fake):
        return f"real gives stride {_show(real.stride)}, its fake {_show(fake.stride)}"
    if real.offset != fake.offset:
        return f"real gives storage offset {real.offset}, its fake {fake.offset}"
    return ""


def _strides(meta: TensorMeta) -> list[object]:
    """The strides that matter: those of dimensions longer than one, in a tensor that has elements."""
    if 0 in meta.shape:
        return []
    return [step for size, step in zip(meta.shape, meta.stride, strict=True) if size != 1]


def _show(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


_ON_CUDA = (
    "The op has an implementation for CUDA, so a trace on a CUDA device gets a tensor on another one. Give each tensor that "
    "the fake makes the device of an argument, as new_empty does."
)
_BY_DEVICE = (
    "The op has one implementation for both devices, and its fake a branch on the device: one of the two answers is not what the "
    "op gives."
)
_UNCOMPILED = (
    " The case was not compiled: compiled code checks shape and strides of an output, not its dtype, and would read and write "
    "beyond the memory of larger elements, which may end the process."
)
_RETURNED = "Compiled code takes the outputs that the fake gives: a trace raises on them, or goes on with others than the kernel's."
_NUMBER = (
    "A trace goes on with the fake's number: a branch on it, or a size made of it, is another one than in eager code."
)
_ALIASED = (
    "A compiler takes the output for memory of that argument: a write to one of the two then counts as a write to both, and a copy "
    "between them may be left out. Give the fake an output of its own, as by torch.empty_like."
)
_CAUSES = {
    "no-fake": "The fake implementation raised on arguments that the kernel accepts.",
    "signature": "torch calls it as the schema says, so it gets wrong arguments, or its own default in place of the schema's.",
    "fake-impure": "A trace calls the fake once and trusts the result: it must be a pure function of its arguments.",
    "fake-differs": "Compiled code trusts the fake, so it would read the op's output wrongly.",
}


def _finding(
    run: Run,
    label: str,
    record: Record,
    kind: str,
    what: str,
    real: TensorMeta | None = None,
    fake: TensorMeta | None = None,
) -> Finding:
    widths = dict.fromkeys(meta.width for meta in (real, fake) if meta is not None and isinstance(meta.width, int))
    return Finding(
        observer="contract",
        kind=kind,
        stage=record.stage,
        what=f"{record.op}: {what}",
        cause=_CAUSES[kind],
        call=label,
        line=record.line,
        widths=tuple(WidthOrigin(run.case.describe_width(int(w)), record.stage, None) for w in widths),
        detail={"op": record.op, "real": real.width if real else None, "fake": fake.width if fake else None},
    )
