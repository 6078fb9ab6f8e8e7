"""What the op writes, and whose memory its outputs share, against what its schema declares."""

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from harness.audit.context import Audited, Ran, outputs
from harness.audit.ops import is_composite
from harness.audit.row import Seen, breaks, holds, not_applicable
from harness.audit.tensors import memory, storage_id, tensors, written_outside
from harness.audit.variants import Variant
from harness.execution.evidence import same_bits
from harness.ops.tensor_meta import TensorMeta


def mutation(audited: Audited) -> Seen:
    """Each argument's whole storage before and after the call, against what the schema declares."""
    declared: dict[str, bool] = {}  # argument -> whether any call wrote it
    for variant in audited.accepted:
        ran = audited.real(variant)
        pairs = zip(ran.before.arguments(audited.op), ran.after.arguments(audited.op), strict=True)
        for (argument, before), (_, after) in pairs:
            told = bool(argument.alias_info and argument.alias_info.is_write)
            for old, new in zip(tree_leaves(before), tree_leaves(after), strict=True):
                found = _change(old, new, told) if isinstance(old, Tensor) else ""
                if found and not (told and found == "written"):
                    return breaks(_WORDS[found].format(argument.name), variant.label)
                if told and isinstance(old, Tensor):
                    declared[argument.name] = declared.get(argument.name, False) or bool(found)
    never = [name for name, wrote in declared.items() if not wrote]
    notes = [f"{name!r} is declared as written, and no call here changed it" for name in never]
    wrote = [name for name, wrote in declared.items() if wrote]
    return holds(f"it writes {', '.join(wrote)}, as declared" if wrote else "it writes no argument", *notes)


_WORDS = {
    "written": "the op writes to its argument {!r}, which its schema does not declare",
    "outside": "the op writes memory of {!r} beyond the tensor's own elements",
    "metadata": "the op changes the size or stride of its argument {!r}",
}


def _change(old: Tensor, new: Tensor, declared: bool) -> str:
    if TensorMeta.of(old) != TensorMeta.of(new):
        return "metadata"
    if same_bits(memory(old), memory(new)):
        return ""
    return "outside" if declared and written_outside(old, new) else "written"


def alias(audited: Audited) -> Seen:
    """No output shares memory with an argument or another output unless the schema says so; real and fake alike."""
    if is_composite(audited.op):
        return not_applicable("composite: torch traces through the op and sees the sharing itself")
    unused: set[str] = set()
    for variant in audited.accepted:
        ran = audited.real(variant)
        found = _shared(audited, ran) or _shared_fake(audited, variant)
        if found:
            return breaks(found, variant.label)
        unused |= _fresh(audited, ran)
    notes = [f"output {place} is declared to share memory; in some calls it does not" for place in sorted(unused)]
    return holds("outputs have memory of their own" if not _declared(audited) else "as declared", *notes)


def _declared(audited: Audited) -> bool:
    return any(returned.alias_info for returned in audited.op._schema.returns)


def _returns(audited: Audited, out: Any) -> list[tuple[str, Any, list[Tensor]]]:
    """(name, schema return, tensors) of each result."""
    schema = audited.op._schema.returns
    values = [out] if len(schema) == 1 else list(out or ())
    return [(str(place), told, tensors(value)) for place, (told, value) in enumerate(zip(schema, values, strict=False))]


def _shared(audited: Audited, ran: Ran) -> str:
    owners: dict[int, tuple[str, Any]] = {}
    for argument, value in ran.after.arguments(audited.op):
        owners.update({storage_id(leaf): (f"argument {argument.name!r}", argument) for leaf in tensors(value)})
    owners.pop(0, None)
    for place, told, leaves in _returns(audited, ran.out):
        for leaf in leaves:
            key = storage_id(leaf) if leaf.numel() else 0
            owner, source = owners.get(key, ("", None))
            if owner and not _allowed(told, source):
                return f"output {place} shares the memory of {owner}, which its schema does not declare"
            if key:
                owners.setdefault(key, (f"output {place}", told))
    return ""


def _allowed(told: Any, source: Any) -> bool:
    sets = [info.alias_info.before_set if info.alias_info else set() for info in (told, source)]
    return bool(sets[0] & sets[1])


def _fresh(audited: Audited, ran: Ran) -> set[str]:
    """Outputs declared as views that have memory of their own."""
    held = {storage_id(leaf) for leaf in tensors(ran.after.leaves)}
    return {
        place
        for place, told, leaves in _returns(audited, ran.out)
        if told.alias_info and any(leaf.numel() and storage_id(leaf) not in held for leaf in leaves)
    }


def _shared_fake(audited: Audited, variant: Variant) -> str:
    """Where the fake hands an argument back although the real implementation does not."""
    faked = audited.fake(variant)
    if faked.error is not None or _declared(audited):
        return ""
    held = {
        leaf.untyped_storage()._cdata: place
        for place, leaf in enumerate(faked.given.leaves)
        if isinstance(leaf, Tensor)
    }
    names = audited.names(faked.given)
    for leaf in outputs(faked.out):
        if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata in held:
            name = names[held[leaf.untyped_storage()._cdata]]
            return f"the fake returns memory of its argument {name!r}; the real implementation does not"
    return ""
