"""From an exception to a finding: which observer's business it is, at which stage, who made the widths, and the cause."""

import re

from harness.execution import stages
from harness.execution.capture import CaptureRefused, NotCaptured
from harness.execution.evidence import Call, Record, Run
from harness.execution.external_memory import FreedMemory
from harness.findings.exception_text import first_line, user_line
from harness.findings.finding import Finding, WidthOrigin
from harness.findings.origins import describe, origin
from harness.ops.tensor_meta import Size, TensorMeta

_ASSERT_SIZE = re.compile(r"expected size (\d+)==(\d+)(?:, stride (\d+)==(\d+))? at dim=(\d+)")
_ERROR_IN_OP = re.compile(r"Error in op: torch\.ops\.(\w+)\.(\w+)")
_SKIPPED_GRAPH = re.compile(r"skipping cudagraph[^\n]*")
_CAPTURE_WORDS = ("capturing", "captured", "cudaErrorStreamCapture")


def explain(run: Run, call: Call) -> Finding:
    """The finding that a call's exception amounts to."""
    error = call.error
    assert error is not None
    for reader in (
        _freed,
        _not_captured,
        _capture,
        _size_assert,
        _graph_break,
        _recompile,
        _collective,
        _widths,
        _custom_op,
    ):
        finding = reader(run, call, error)
        if finding:
            return finding
    record = _failed(call)
    return Finding(
        observer="widths",
        kind="raised",
        stage=record.stage if record else "layer",
        what=f"{type(error).__name__}: {first_line(error)}",
        cause="The layer raised before it gave an output.",
        call=call.label,
        line=(record.line if record else None) or user_line(error),
    )


def _failed(call: Call) -> Record | None:
    return next((record for record in reversed(call.records) if record.error), None)


def _freed(run: Run, call: Call, error: BaseException) -> Finding | None:
    if not isinstance(error, FreedMemory):
        return None
    return Finding(
        observer="addresses",
        kind="freed-memory",
        stage="replay",
        what=str(error),
        cause="A CUDA graph keeps addresses: the layer let memory go that a captured graph reads at each replay.",
        call=call.label,
        line=error.line,
    )


def _not_captured(run: Run, call: Call, error: BaseException) -> Finding | None:
    skipped = _SKIPPED_GRAPH.search(str(error))
    if not isinstance(error, NotCaptured) and not skipped:
        return None
    return Finding(
        observer="capture",
        kind="not-captured",
        stage="capture",
        what=skipped[0] if skipped else str(error),
        cause="torch.compile was asked for CUDA graphs, makes none of this layer, and outside the harness only logs it.",
        call=call.label,
    )


def _capture(run: Run, call: Call, error: BaseException) -> Finding | None:
    if not isinstance(error, CaptureRefused) and not any(word in str(error) for word in _CAPTURE_WORDS):
        return None
    return Finding(
        observer="capture",
        kind="capture-refused",
        stage="capture",
        what=first_line(error),
        cause="A CUDA graph records kernels only: nothing in it may wait for the device or depend on its data.",
        call=call.label,
        line=getattr(error, "line", None) or user_line(error),
    )


def _size_assert(run: Run, call: Call, error: BaseException) -> Finding | None:
    """Inductor's assert_size_stride: the compiled graph believed the fake, the kernel wrote something else."""
    dims = [found.groups() for found in _ASSERT_SIZE.finditer(str(error))]
    if not dims:
        return None
    # The message lists every dimension: take the one whose size differs, else the one whose stride does.
    real, fake, real_step, fake_step, dim = max(dims, key=lambda d: (d[0] != d[1], d[2] != d[3]))
    op = _ERROR_IN_OP.search(str(error))
    name = "::".join(op.groups()) if op else ""
    record = next((record for record in call.records if record.op == name), None)
    what = f"{name or 'an op'} wrote size {real} and stride {real_step} at dim {dim}; its fake implementation said "
    return Finding(
        observer="contract",
        kind="fake-differs",
        stage=record.stage if record else stages.EXPERTS,
        what=what + f"size {fake} and stride {fake_step} ({first_line(error)})",
        cause="The fake implementation and the kernel disagree, so compiled code reads the output wrongly.",
        call=call.label,
        line=record.line if record else user_line(error),
        widths=tuple(_plain_origin(run, int(size)) for size in dict.fromkeys((real, fake))),
        detail={"op": name, "real": int(real), "fake": int(fake)},
    )


def _plain_origin(run: Run, width: Size) -> WidthOrigin:
    return WidthOrigin(describe(run, width), stages.EXPERTS, None)


def _graph_break(run: Run, call: Call, error: BaseException) -> Finding | None:
    if not any(kind.__name__ in ("Unsupported", "UserError") for kind in type(error).__mro__):
        return None
    if "onstraint" in type(error).__name__:
        return None
    return Finding(
        observer="graph breaks",
        kind="graph-break",
        stage="layer",
        what=first_line(error),
        cause="Dynamo cannot trace this line into the graph; under fullgraph that is an error, else a graph break.",
        call=call.label,
        line=user_line(error),
    )


def _recompile(run: Run, call: Call, error: BaseException) -> Finding | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    if not names & {"ConstraintViolationError", "FailOnRecompileLimitHit", "RecompileLimitExceeded", "RecompileError"}:
        return None
    return Finding(
        observer="recompiles",
        kind="specialised",
        stage="layer",
        what=first_line(error),
        cause="The layer fixes the token count to one number, so each new batch size compiles again.",
        call=call.label,
        line=user_line(error),
    )


def _collective(run: Run, call: Call, error: BaseException) -> Finding | None:
    """A collective flattens with view(-1); eager sees it fail in the op, compiled code only says what torch says."""
    text = str(error)
    record = _failed(call)
    told = record is not None and record.stage == stages.REDUCE
    if not told and not ("view size is not compatible" in text and run.case.tp > 1):
        return None
    record = record if told else next((r for r in call.records if r.stage == stages.REDUCE), None)
    return not_contiguous(run, call, record, first_line(error))


def not_contiguous(run: Run, call: Call, record: Record | None, what: str = "") -> Finding:
    """The finding for a collective that was given a strided tensor."""
    meta = record.inputs[0] if record and record.inputs else None
    seen = (
        f"the all-reduce was given {meta}, a view that is not contiguous"
        if meta
        else "the all-reduce got a strided view"
    )
    makers = [origin(run, call.records, record, 0)] if record and record.inputs else []
    return Finding(
        observer="collectives",
        kind="not-contiguous",
        stage=stages.REDUCE,
        what=f"{seen}: {what}" if what else seen,
        cause="Cutting the padding off gives a strided view; nothing made it contiguous before the collective.",
        call=call.label,
        line=record.line if record else None,
        widths=tuple(makers),
    )


def _widths(run: Run, call: Call, error: BaseException) -> Finding | None:
    """A shape error at an op whose inputs do not fit together."""
    record = _failed(call)
    if record is None or record.custom or len(record.inputs) < 2:
        return None
    widths = [meta.width for meta in record.inputs]
    origins = tuple(origin(run, call.records, record, place) for place in range(len(record.inputs)))
    name = record.op.partition("::")[2]
    return Finding(
        observer="widths",
        kind="width-mismatch",
        stage=record.stage,
        what=f"{name} of {' and '.join(_shape(meta) for meta in record.inputs)} ({first_line(record.error or error)})",
        cause=_mismatch_cause(run, record, widths),
        call=call.label,
        line=record.line,
        widths=origins,
        detail={"op": record.op, "widths": widths},
    )


def _shape(meta: TensorMeta) -> str:
    return "x".join(map(str, meta.shape)) if len(meta.shape) > 1 else str(meta.width)


def _mismatch_cause(run: Run, record: Record, widths: list[Size]) -> str:
    case = run.case
    if case.padded != case.width and case.padded in widths:
        return f"The padding was not cut off before the {record.stage}: {case.describe_width(case.padded)}."
    if case.latent in widths and record.stage == stages.SHARED:
        return "The shared expert was given the latent tensor; it works on the full hidden_states."
    return f"The widths that meet at the {record.stage} do not fit."


def _custom_op(run: Run, call: Call, error: BaseException) -> Finding | None:
    record = _failed(call)
    if record is None or not record.custom:
        return None
    missing = "register_fake" in str(error) or type(error).__name__ == "UnsupportedOperatorException"
    cause = "The op has no fake implementation, so it cannot be traced." if missing else "The op itself raised."
    data = "DataDependent" in type(error).__name__ or "DynamicOutputShape" in type(error).__name__
    return Finding(
        observer="contract",
        kind="no-fake" if missing else "op-raised",
        stage=record.stage,
        what=f"{record.op}: {type(error).__name__}: {first_line(error)}",
        cause="The fake implementation reads data, which a trace does not have." if data else cause,
        call=call.label,
        line=record.line,
    )
