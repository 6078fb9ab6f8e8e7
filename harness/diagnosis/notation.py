"""How torch writes ops, shapes and recompilations."""

import re
from math import prod

RECOMPILING = "Recompiling function "
LIMIT_MET = "torch._dynamo hit config."
# What a recompile limit raises where a setting makes it an error; and inside, where torch catches it unless one does.
LIMIT_IS_HARD = r"FailOn(?:Recompile|Cache)LimitHit"
LIMIT_INSIDE = r"(?:Recompile|Cache)LimitExceeded|Dynamo (?:recompile|cache) limit exceeded"
_PREFIXES = ("torch.ops.", "torch._ops.")
_OVERLOADS = frozenset(("default", "out", "Tensor", "Scalar"))
# Ops that torch itself brings; a wrong fake of theirs is torch's.
TORCHS_OWN = frozenset(
    ("aten", "prims", "prim", "inductor", "quantized", "mkldnn", "mkl", "rngprims", "_c10d_functional", "c10d")
)


def op_name(text: str) -> str:
    """An op as ns::name, from any way that torch writes it; empty for what has no namespace."""
    text = text.removeprefix("<").removeprefix("CustomOpDef(").rstrip(".:")
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    parts = re.split(r"::|\.", text)
    if len(parts) > 2 and parts[0].endswith(("Error", "Exception")):
        parts = parts[1:]
    parts = parts[:2] if len(parts) == 3 else parts
    return f"{parts[0]}::{parts[1]}" if len(parts) == 2 and parts[1] not in _OVERLOADS else ""


def sizes(text: str) -> tuple[str, ...]:
    """The sizes in a written shape."""
    return tuple(part.strip() for part in text.removeprefix("torch.Size(").strip("()[] ").split(",") if part.strip())


def rows_of(shape: tuple[str, ...]) -> str:
    """How many rows a shape of two to four sizes has, all leading sizes multiplied: a number, or symbols as torch writes them, 7*s0.

    Of four sizes, the last two are heads. Empty for a shape that has none.
    """
    if not 1 < len(shape) < 5:
        return ""
    leading = shape[: -2 if len(shape) > 3 else -1]
    number = prod(int(size) for size in leading if size.isdigit())
    symbols = [size for size in leading if not size.isdigit()]
    return "*".join([*([str(number)] if number != 1 or not symbols else []), *symbols])
