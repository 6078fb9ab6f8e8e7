"""Names of ops: ``namespace::name``."""

from typing import Any

import torch


def op_name(func: Any) -> str:
    """``namespace::name`` of an OpOverload."""
    return str(func._schema.name)


def qualified_name(func: Any) -> str:
    """``namespace::name.overload`` of an OpOverload, the key of its fake; without a suffix for the default overload."""
    overload = func._schema.overload_name
    return f"{op_name(func)}.{overload}" if overload else op_name(func)


def is_custom(op: str) -> bool:
    """Whether an op name (``namespace::name``) is not one of torch's own."""
    return op.partition("::")[0] not in {"aten", "prim", "prims", "inductor", "debugprims", "_c10d_functional"}


def composite(op: str) -> bool:
    """Whether an op (``namespace::name``) is registered as CompositeImplicitAutograd, which torch takes apart at once."""
    return torch._C._dispatch_has_kernel(op) and torch._C._dispatch_has_kernel_for_dispatch_key(
        op, "CompositeImplicitAutograd"
    )
