"""Exceptions of torch.compile: Inductor's size asserts, graph breaks, recompiles."""

from dataclasses import replace

from harness.base.exception_text import first_line
from harness.diagnosis.exception import kind_of_class
from harness.diagnosis.readers.difference import Dim, dims
from harness.execution import stages
from harness.findings.finding import Finding, WidthOrigin
from harness.findings.origins import describe
from harness.findings.readers.raised import Raised

_OBSERVERS = {"graph-break": "graph breaks", "specialised": "recompiles"}
# Kinds of failure that are of the whole layer, whatever op was recorded last.
_OF_THE_LAYER = frozenset(("graph-break", "recompile", "constraint"))


def size_assert(raised: Raised) -> Finding | None:
    """Inductor's assert_size_stride failed: the graph was compiled for the fake's output, and the kernel returned another."""
    listed = dims(raised.facts) if raised.diagnosis.kind == "size-stride-assert" else []
    if not listed or raised.diagnosis.finding != "fake-differs":
        return None
    # The message lists every dimension: take one whose size differs, else one whose stride does.
    dim = max(listed, key=lambda d: (d.real != d.said, d.real_stride != d.said_stride))
    name = raised.facts.op
    record = next((record for record in raised.call.records if record.op == name), None)
    stage = record.stage if record else stages.EXPERTS
    return Finding(
        observer="contract",
        kind="fake-differs",
        stage=stage,
        what=f"{_sizes(name, dim)} ({first_line(raised.error)})",
        cause="The kernel and its fake implementation disagree, so compiled code would read the output wrongly."
        if name
        else raised.diagnosis.cause,
        call=raised.call.label,
        line=record.line if record else raised.line,
        widths=tuple(WidthOrigin(describe(raised.run, n), stage, None) for n in dict.fromkeys((dim.real, dim.said))),
        detail={"op": name, "real": dim.real, "fake": dim.said},
    )


def _sizes(name: str, dim: Dim) -> str:
    got = f"size {dim.real} and stride {dim.real_stride} at dim {dim.dim}"
    wanted = f"size {dim.said} and stride {dim.said_stride}"
    return f"{name} gave {got}; its fake {wanted}" if name else f"a tensor has {got}; compiled code expects {wanted}"


def compiled(raised: Raised) -> Finding | None:
    """Dynamo met what it cannot trace, fixed a dynamic token count, or compiled too often."""
    by_class = kind_of_class(raised.error)
    if by_class is not None and not by_class.findings:  # its own text tells more than its class
        return None
    if by_class is None and raised.diagnosis.kind not in _OF_THE_LAYER:
        return None
    diagnosis = (
        raised.diagnosis if by_class is None else replace(raised.diagnosis, finding=by_class.findings[0]["kind"])
    )
    return Finding(
        observer=_OBSERVERS[diagnosis.finding],
        kind=diagnosis.finding,
        stage="layer",
        what=_what(raised.error),
        cause=diagnosis.cause,
        call=raised.call.label,
        line=raised.line,
        detail={"failure": diagnosis.kind},
    )


def _what(error: BaseException) -> str:
    """The error's first line. Dynamo's own error has another's text, which alone reads as the layer's."""
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if name == "InternalTorchDynamoError" else first_line(error)
