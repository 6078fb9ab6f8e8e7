"""Exceptions of torch.compile: Inductor's size asserts, graph breaks, recompiles."""

import re

from harness.base.exception_text import first_line, user_line
from harness.execution import stages
from harness.execution.evidence import Call, Run
from harness.findings.finding import Finding, WidthOrigin
from harness.findings.origins import describe

_ASSERT_SIZE = re.compile(r"expected size (\d+)==(\d+)(?:, stride (\d+)==(\d+))? at dim=(\d+)")
_ERROR_IN_OP = re.compile(r"Error in op: torch\.ops\.(\w+)\.(\w+)")
_RECOMPILES = {"FailOnRecompileLimitHit", "RecompileLimitExceeded", "RecompileError"}
_CONSTRAINT = "ConstraintViolationError"


def size_assert(run: Run, call: Call, error: BaseException) -> Finding | None:
    """Inductor's assert_size_stride failed: the graph was compiled for the fake's output, and the kernel returned another."""
    dims = [match.groups() for match in _ASSERT_SIZE.finditer(str(error))]
    if not dims:
        return None
    # The message lists every dimension: take one whose size differs, else one whose stride does.
    real, fake, real_stride, fake_stride, dim = max(dims, key=lambda d: (d[0] != d[1], d[2] != d[3]))
    op = _ERROR_IN_OP.search(str(error))
    name = "::".join(op.groups()) if op else ""
    record = next((record for record in call.records if record.op == name), None)
    stage = record.stage if record else stages.EXPERTS
    got, wanted = f"size {real} and stride {real_stride} at dim {dim}", f"size {fake} and stride {fake_stride}"
    what = f"{name} gave {got}; its fake {wanted}" if name else f"a tensor has {got}; compiled code expects {wanted}"
    cause = "The kernel and its fake implementation disagree, so compiled code would read the output wrongly."
    return Finding(
        observer="contract",
        kind="fake-differs",
        stage=stage,
        what=f"{what} ({first_line(error)})",
        cause=cause if name else "A fake implementation and its kernel disagree, or an input changed its layout.",
        call=call.label,
        line=record.line if record else user_line(error),
        widths=tuple(WidthOrigin(describe(run, int(size)), stage, None) for size in dict.fromkeys((real, fake))),
        detail={"op": name, "real": int(real), "fake": int(fake)},
    )


def graph_break(run: Run, call: Call, error: BaseException) -> Finding | None:
    """Dynamo met what it cannot trace. A violated constraint is a UserError too, and a matter of recompiling."""
    if not any(kind.__name__ in ("Unsupported", "UserError") for kind in type(error).__mro__):
        return None
    if "onstraint" in type(error).__name__:
        return None
    return Finding(
        observer="graph breaks",
        kind="graph-break",
        stage="layer",
        what=first_line(error),
        cause="Dynamo cannot trace this line. With fullgraph=True that is an error; without it, a graph break.",
        call=call.label,
        line=user_line(error),
    )


def recompile_limit(run: Run, call: Call, error: BaseException) -> Finding | None:
    """A dynamic token count was fixed, or the layer was compiled too often."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if not names & {_CONSTRAINT, *_RECOMPILES}:
        return None
    fixed = "The trace fixes the token count to one number or restricts it, so other batch sizes compile again."
    often = "A guard fails at every call, such as one on the token count or on a value that changes between calls."
    return Finding(
        observer="recompiles",
        kind="specialised",
        stage="layer",
        what=first_line(error),
        cause=fixed if _CONSTRAINT in names else often,
        call=call.label,
        line=user_line(error),
    )
