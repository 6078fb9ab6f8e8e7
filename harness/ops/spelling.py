"""The spellings of an op's name that a user may type. Imports no torch, so that a command can refuse one at once."""

from harness.base.errors import BadInput


def normal(name: str) -> tuple[str, str, str]:
    """(namespace, name, overload or "") of ``ns::name``, ``ns.name`` or ``torch.ops.ns.name``, each with ``.overload``.

    Raises BadInput for any other form.
    """
    text = name.removeprefix("torch.ops.")
    space, colons, rest = text.partition("::")
    parts = [space, *rest.split(".")] if colons else text.split(".")
    if len(parts) not in (2, 3) or not all(part.isidentifier() for part in parts):
        raise BadInput(f"op {name!r}: expected NAMESPACE::NAME, such as torchvision::nms (an overload after a dot)")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""
