"""Compare what the op writes and what memory its outputs share with what its schema declares."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from harness.audit.calling.calls import RealCall, outputs
from harness.audit.context import AuditedOp
from harness.audit.ops import is_composite
from harness.audit.registrations import custom_op
from harness.audit.row import CheckResult, breaks, holds, not_applicable
from harness.audit.tensors import memory, storage_id, tensors, written_outside
from harness.audit.variants.kinds import Variant
from harness.execution.evidence import same_bits
from harness.ops.tensor_meta import TensorMeta


def mutation(audited: AuditedOp) -> CheckResult:
    """Compare each argument's whole storage before and after the call."""
    declared: dict[str, bool] = {}  # mutable argument -> whether any call wrote it
    for variant in audited.accepted:
        ran = audited.real(variant)
        pairs = zip(ran.before.arguments(audited.op), ran.after.arguments(audited.op), strict=True)
        for (argument, before), (_, after) in pairs:
            mutable = bool(argument.alias_info and argument.alias_info.is_write)
            for old, new in zip(tree_leaves(before), tree_leaves(after), strict=True):
                change = _change(old, new, mutable) if isinstance(old, Tensor) else ""
                if change and not (mutable and change == "written"):
                    return breaks(_TEXTS[change].format(argument.name), variant.label)
                if mutable and isinstance(old, Tensor):
                    declared[argument.name] = declared.get(argument.name, False) or bool(change)
    never = [name for name, wrote in declared.items() if not wrote]
    notes = [f"{name!r} is declared as mutable, but no call here changed it" for name in never]
    wrote = [name for name, wrote in declared.items() if wrote]
    return holds(f"it writes {', '.join(wrote)}, as declared" if wrote else "it writes no argument", *notes)


_RETURN_ARGUMENTS = {getattr(torch.Tag, name) for name in ("inplace", "out") if hasattr(torch.Tag, name)}
_TEXTS = {
    "written": "the op writes to its argument {!r}, which its schema does not declare",
    "outside": "the op writes memory of {!r} outside the tensor's elements",
    "metadata": "the op changes the size or stride of its argument {!r}",
}


def _change(old: Tensor, new: Tensor, declared: bool) -> str:
    if TensorMeta.of(old) != TensorMeta.of(new):
        return "metadata"
    if same_bits(memory(old), memory(new)):
        return ""
    return "outside" if declared and written_outside(old, new) else "written"


def alias(audited: AuditedOp) -> CheckResult:
    """In real and fake alike, an output shares memory with an argument or output only if the schema declares it."""
    if is_composite(audited.op):
        return not_applicable("composite: torch traces through the op and sees the aliasing itself")
    unused: set[str] = set()
    for variant in audited.accepted:
        ran = audited.real(variant)
        shared = _shared(audited, ran)
        if shared:
            return breaks(f"{shared}; {_in_torch(audited)}", variant.label)
        shared = _shared_fake(audited, variant)
        if shared:
            return breaks(shared, variant.label)
        for place, declared in _fresh(audited, ran).items():
            if declared.alias_info.is_write:
                what = f"output {place} is declared as the argument that the op writes, but it has memory of its own"
                return breaks(what, variant.label)
            unused.add(place)
    notes = [f"output {place} is declared as an alias, but in some calls it is not" for place in sorted(unused)]
    return holds(
        "every output has its own memory" if not _declared(audited) else "outputs share memory as declared", *notes
    )


def _in_torch(audited: AuditedOp) -> str:
    """What torch does with an undeclared alias."""
    eager = "eager, torch raises; " if custom_op(audited.op) else ""
    return f"{eager}compiled, torch gives a warning where CI is unset, an error where it is set"


def _declared(audited: AuditedOp) -> bool:
    return any(returned.alias_info for returned in audited.op._schema.returns)


def _returns(audited: AuditedOp, out: Any) -> list[tuple[str, Any, list[Tensor]]]:
    """(place, schema return, tensors) of each output."""
    schema = audited.op._schema.returns
    values = [out] if len(schema) == 1 else list(out or ())
    return [
        (str(place), declared, tensors(value))
        for place, (declared, value) in enumerate(zip(schema, values, strict=False))
    ]


def _shared(audited: AuditedOp, ran: RealCall) -> str:
    owners: dict[int, tuple[str, Any]] = {}
    for argument, value in ran.after.arguments(audited.op):
        owners.update({storage_id(leaf): (f"argument {argument.name!r}", argument) for leaf in tensors(value)})
    owners.pop(0, None)  # 0 is the id of tensors without memory
    for place, declared, leaves in _returns(audited, ran.out):
        for leaf in leaves:
            key = storage_id(leaf) if leaf.numel() else 0
            owner, source = owners.get(key, ("", None))
            if owner and not _allowed(audited, declared, source):
                return f"output {place} shares the memory of {owner}, which its schema does not declare"
            if key:
                owners.setdefault(key, (f"output {place}", declared))
    return ""


def _allowed(audited: AuditedOp, declared: Any, source: Any) -> bool:
    tagged = _RETURN_ARGUMENTS & set(audited.op.tags)
    if tagged and source.name and source.alias_info and source.alias_info.is_write:
        return True  # torch demands that an op with such a tag returns the arguments that it writes
    sets = [info.alias_info.before_set if info.alias_info else set() for info in (declared, source)]
    return bool(sets[0] & sets[1])


def _fresh(audited: AuditedOp, ran: RealCall) -> dict[str, Any]:
    """The outputs that are declared as aliases but have their own memory, each with its declaration."""
    arguments = {storage_id(leaf) for leaf in tensors(ran.after.leaves)}
    return {
        place: declared
        for place, declared, leaves in _returns(audited, ran.out)
        if declared.alias_info and any(leaf.numel() and storage_id(leaf) not in arguments for leaf in leaves)
    }


def _shared_fake(audited: AuditedOp, variant: Variant) -> str:
    """The argument whose memory the fake returns although the real implementation does not."""
    faked = audited.fake(variant)
    if faked.error is not None or _declared(audited):
        return ""
    owners = {
        leaf.untyped_storage()._cdata: place
        for place, leaf in enumerate(faked.given.leaves)
        if isinstance(leaf, Tensor)
    }
    names = audited.names(faked.given)
    for leaf in outputs(faked.out):
        if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata in owners:
            name = names[owners[leaf.untyped_storage()._cdata]]
            return f"the fake returns memory of its argument {name!r}; the real implementation does not"
    return ""
