"""Lines made fewer: several places that get one number, and the tensors of one holder in a loop."""

import re
from collections.abc import Sequence

_TENSOR = re.compile(
    r"(?P<holder>.+?)(?:\.(?P<name>\w+)|\['(?P<key>\w+)'\]) = torch\.empty\((?P<shape>[^=]+?)(?:, dtype=(?P<dtype>torch\.\w+))?\)"
)
_FEW = 2  # tensors that need no loop


def merged(lines: Sequence[str]) -> list[str]:
    """Statements that do the same as these, in fewer lines. Each tensor keeps memory of its own."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(_group(line), []).append(line)
    return [part for group, found in groups.items() for part in _as_one(group, found)]


def _group(line: str) -> str:
    """Lines of one group can be one statement: the loop's body of a tensor, the value of a number, or the line itself."""
    place, _, value = line.partition(" = ")
    if match := _TENSOR.fullmatch(line):
        new = "torch.empty(shape, dtype=dtype)"
        return f"{match['holder']}[name] = {new}" if match["key"] else f"setattr({match['holder']}, name, {new})"
    return value if value and "(" not in place and "torch." not in value else line


def _as_one(group: str, found: list[str]) -> list[str]:
    matches = [_TENSOR.fullmatch(line) for line in found]
    forms = [f'("{m["name"] or m["key"]}", {m["dtype"] or "torch.float32"}, {m["shape"]})' for m in matches if m]
    if len(forms) > _FEW:
        return [f"for name, dtype, *shape in ({', '.join(forms)}):", f"    {group}"]
    places = [line.partition(" = ")[0] for line in found]
    return found if forms or len(found) < _FEW else [" = ".join((*places, group))]
