"""The schema, and whether the signatures of the fake and the real implementations fit it."""

from harness.audit.context import AuditedOp
from harness.audit.ops import devices, fake_function, is_composite
from harness.audit.row import CheckResult, breaks, holds
from harness.ops.registry import registered
from harness.ops.signatures import mismatch_with_schema


def schema(audited: AuditedOp) -> CheckResult:
    """The fake and the real implementations take all arguments that the dispatcher may pass."""
    op = audited.op
    functions = {"fake": fake_function(op)}
    own = registered().get(op.name())
    functions |= {f"{device} implementation": real for device, real in own.reals.items()} if own else {}
    for what, function in functions.items():
        mismatch = mismatch_with_schema(function, op) if function else ""
        if mismatch:
            return breaks(f"the {what} {mismatch}")
    read = [what for what, function in functions.items() if function]
    what = f"{len(op._schema.arguments)} arguments, {len(op._schema.returns)} outputs"
    return holds(what + (f"; they fit the {' and the '.join(read)}" if read else ""), *_notes(audited))


def _notes(audited: AuditedOp) -> list[str]:
    schema = audited.op._schema
    notes = [] if devices(audited.op) else ["no implementation is registered for any device"]
    here = audited.device.type
    if notes == [] and here not in devices(audited.op):
        notes.append(f"no implementation for {here}; there is one for {', '.join(devices(audited.op))}")
    if is_composite(audited.op):
        notes.append("composite (CompositeImplicitAutograd): torch traces through it")
    whole = [
        argument.name
        for argument in schema.arguments  # the type of a dtype is int too, and its real type is ScalarType
        if str(argument.real_type) == "int" and "SymInt" not in str(schema)
    ]
    if whole:
        notes.append(
            f"{', '.join(whole)}: `int` in the schema, so torch.compile specialises on each value; declare SymInt to avoid that"
        )
    return notes
