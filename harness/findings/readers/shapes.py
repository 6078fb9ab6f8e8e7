"""Exceptions of shapes: widths that do not fit at an op of torch."""

from harness.base.exception_text import first_line
from harness.execution import stages
from harness.execution.evidence import Call, Record, Run
from harness.findings.finding import Finding
from harness.findings.origins import meeting_width, origin
from harness.findings.readers.raised import Raised
from harness.ops.tensor_meta import Size, TensorMeta

# Failures of an op with several inputs for which no width is to blame.
_NO_WIDTH = frozenset(
    (
        "dtype-mismatch", "device-mismatch", "mixed-fake-and-real", "index", "autograd", "out-of-memory", "out-of-host-memory",
        "missing-kernel", "missing-op", "illegal-access", "device-assert", "device-library", "device-fault", "kernel-compiler",
    )
)  # fmt: skip


def width_mismatch(raised: Raised) -> Finding | None:
    """One of torch's own ops with two inputs or more raised."""
    run, call, error, record = raised.run, raised.call, raised.error, raised.record
    if record is None or record.custom or len(record.inputs) < 2 or _rows_alone_differ(record):
        return None
    if raised.diagnosis.kind in _NO_WIDTH:
        return None
    widths = [meeting_width(record, index) for index in range(len(record.inputs))]
    origins = tuple(origin(run, call.records, record, index) for index in range(len(record.inputs)))
    name = record.op.partition("::")[2]
    beside, place = _padded_beside_routed(run, call, record) or ("", "")
    return Finding(
        observer="widths",
        kind="width-mismatch",
        stage=place or record.stage,
        what=f"{name} of {' and '.join(_shape(meta) for meta in record.inputs)} ({first_line(record.error or error)})",
        cause=beside or _mismatch_cause(run, record, widths),
        call=call.label,
        line=record.line,
        widths=origins,
        detail={
            "op": record.op,
            "widths": widths,
            "routed": record.routed and not beside,
            "bias": _is_bias(run, record),
        },
    )


def _padded_beside_routed(run: Run, call: Call, record: Record) -> tuple[str, str] | None:
    """(cause, stage) where the padded width is that of another output of the experts' op than the routed one; else None."""
    for meta, source, routed in zip(record.inputs, record.sources, record.routed_inputs, strict=False):
        maker = call.records[source] if source is not None else None
        if maker is None or maker.op != next(iter(run.ops), None) or meta.width != run.case.padded != run.case.hidden:
            continue
        places = [place for place, output in enumerate(maker.outputs) if output and output.shape == meta.shape]
        if run.routed_output is None or not places:
            continue
        padded = run.case.describe_width(run.case.padded)
        if run.routed_output not in places:
            cause = (
                f"Output {places[0]} of {maker.op} has the padded width ({padded}), and output {run.routed_output} is the "
                "routed experts': the op gives its outputs in another order, or the other one is padded too."
            )
            return cause, stages.EXPERTS
        others = [place for place in places if place != run.routed_output]
        if others and not routed:
            whose = stages.SHARED if run.case.shared is not None and len(maker.outputs) == 2 else stages.EXPERTS
            cause = (
                f"Output {others[0]} of {maker.op}, which is not the routed experts', has the padded width too ({padded}): what "
                "makes it is given padded rows, or pads them."
            )
            return cause, whose
    return None


def _rows_alone_differ(record: Record) -> bool:
    """Whether the inputs have one width and several numbers of rows, such as a buffer that is too short for the batch."""
    shapes = [meta.shape for meta in record.inputs if len(meta.shape) > 1]
    same_width = len(shapes) == len(record.inputs) and len({shape[-1] for shape in shapes}) == 1
    return same_width and len({shape[:-1] for shape in shapes}) > 1 and "mm" not in record.op


def _shape(meta: TensorMeta) -> str:
    return "x".join(map(str, meta.shape)) if len(meta.shape) > 1 else str(meta.width)


def _mismatch_cause(run: Run, record: Record, widths: list[Size]) -> str:
    case = run.case
    if case.padded != case.width and case.padded in widths:
        padded = case.describe_width(case.padded)
        if _is_bias(run, record):
            return f"A bias of the true width is added before the padded columns are cut off ({padded})."
        if record.routed:
            return f"The padding was not cut off before the {record.stage}: {padded}."
        return (
            f"Only one of the inputs has the padded width ({padded}): the other was not padded, or this one too early."
        )
    if case.latent in widths and record.stage == stages.SHARED:
        return "A tensor of the latent width reached the shared expert, which works on the full hidden_states."
    return f"The inputs of {record.op} do not fit together."


def _is_bias(run: Run, record: Record) -> bool:
    """Whether a vector of the true width meets a matrix of the padded one."""
    shapes = [meta.shape for meta in record.inputs]
    return any(len(shape) == 1 and shape[0] == run.case.width for shape in shapes) and any(
        len(shape) > 1 and shape[-1] == run.case.padded != run.case.width for shape in shapes
    )
