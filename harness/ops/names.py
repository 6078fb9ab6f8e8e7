"""Names of ops: ``namespace::name``."""

from typing import Any


def op_name(func: Any) -> str:
    """``namespace::name`` of an OpOverload."""
    return str(func._schema.name)


def is_custom(op: str) -> bool:
    """Whether an op name (``namespace::name``) is not one of torch's own."""
    return op.partition("::")[0] not in {"aten", "prim", "prims", "inductor", "debugprims", "_c10d_functional"}
