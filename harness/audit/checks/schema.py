"""The schema itself, and whether the fake's own signature takes the arguments that it names."""

from harness.audit.context import Audited
from harness.audit.ops import devices, fake_function, is_composite
from harness.audit.row import Seen, breaks, holds
from harness.ops.registry import registered
from harness.ops.signatures import unfit


def schema(audited: Audited) -> Seen:
    """The arguments that the dispatcher may pass are those that fake and real implementations take."""
    op = audited.op
    functions = {"fake": fake_function(op)}
    own = registered().get(op._schema.name)
    functions |= {f"{device} implementation": real for device, real in own.reals.items()} if own else {}
    for what, function in functions.items():
        found = unfit(function, op) if function else ""
        if found:
            return breaks(f"the {what} {found}")
    read = [what for what, function in functions.items() if function]
    what = f"{len(op._schema.arguments)} arguments, {len(op._schema.returns)} outputs"
    return holds(what + (f"; taken by the {' and the '.join(read)}" if read else ""), *_notes(audited))


def _notes(audited: Audited) -> list[str]:
    told = audited.op._schema
    found = [] if devices(audited.op) else ["no implementation is registered for any device"]
    here = audited.device.type
    if found == [] and here not in devices(audited.op):
        found.append(f"no implementation for {here}; there is one for {', '.join(devices(audited.op))}")
    if is_composite(audited.op):
        found.append("composite (CompositeImplicitAutograd): torch traces through it")
    whole = [argument.name for argument in told.arguments if str(argument.type) == "int" and "SymInt" not in str(told)]
    if whole:
        found.append(f"{', '.join(whole)}: `int`, so a compile fixes each value; SymInt would not")
    return found
