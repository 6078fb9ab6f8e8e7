"""Find an op by the name that a user gives, and ask torch's dispatcher about it."""

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from harness.audit.registrations import custom_op, defined_in
from harness.base.errors import BadInput, nearest
from harness.base.exception_text import is_ctrl_c, with_cause
from harness.base.exits import exits_raise
from harness.ops.registry import registered, unwrap_fake
from harness.ops.spelling import normal

# Parts of torch that register ops on import. They are imported first, so that their ops do not count as the user's.
_TORCH_PARTS = ("torch._inductor.compile_fx", "torch.distributed", "torch.onnx")


class UnknownOp(Exception):
    """There is no such op. The text suggests the nearest names."""


def load_modules(modules: Sequence[str], path: Sequence[str], optional: Sequence[str] = ()) -> dict[str, str]:
    """Import the modules that register ops, with ``path`` in front of the import path. Raises BadInput.

    A module of ``optional`` may fail. Returns what those that failed raised, by module.
    """
    sys.path[:0] = [folder for folder in path if folder not in sys.path]
    failed = {name: text for name in (*modules, *optional) if (text := _import(name))}
    wanted = [name for name in modules if name in failed]
    if wanted:
        raise BadInput(f"--import {wanted[0]}: {failed[wanted[0]]}; expected a module that can be imported")
    return failed


def _import(name: str) -> str:
    """Import a module; returns what it raised, empty if nothing."""
    try:
        with exits_raise():
            importlib.import_module(name)
    except BaseException as error:  # a user's module may raise anything at import, and may exit
        if is_ctrl_c(error):
            raise
        return with_cause(error)
    return ""


def find(name: str) -> torch._ops.OpOverload:
    """The op of this name. Without an overload, the default one or the only one. Raises UnknownOp."""
    space, short, overload = normal(name)
    try:
        packet = getattr(getattr(torch.ops, space), short)
    except (AttributeError, RuntimeError):
        raise UnknownOp(_missing(f"{space}::{short}")) from None
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        raise UnknownOp(f"torch.ops.{space}.{short} is a {type(packet).__name__}, not an op of the dispatcher")
    overloads = packet.overloads()
    wanted = overload or ("default" if "default" in overloads else overloads[0] if len(overloads) == 1 else "")
    if wanted not in overloads:
        raise UnknownOp(
            f"{space}::{short} has the overloads {', '.join(overloads)}; name one: {space}::{short}.{overloads[0]}"
        )
    op: torch._ops.OpOverload = getattr(packet, wanted)
    return op


def unregistered(name: str) -> str:
    """Why there is no such op; empty if there is. Raises BadInput for a name of another form."""
    try:
        find(name)
    except UnknownOp as error:
        return str(error)
    return ""


def names() -> set[str]:
    """Every op in the dispatcher, as ``ns::name`` or ``ns::name.overload``."""
    return set(torch._C._dispatch_get_all_op_names())


def registered_by(modules: Sequence[str], path: Sequence[str], optional: Sequence[str] = ()) -> "Registered":
    """What these modules register, without the overloads that torch generates. Raises BadInput.

    An op that a module of torch defines when the user's modules import it is not theirs.
    """
    for part in _TORCH_PARTS:
        importlib.import_module(part)
    before = names()
    failed = load_modules(modules, path, optional)
    spaces = {name.partition("::")[0] for name in before}
    added = {name: _defined(name) for name in sorted(names() - before)}
    own = {name: op for name, op in added.items() if op is not None and _not_of_torch(op, spaces)}
    return Registered(
        [name for name, op in own.items() if torch.Tag.generated not in op.tags],
        failed,
        [name for name, op in added.items() if op is None and name.partition("::")[0] not in spaces],
        {name: module for name, op in own.items() if (module := defined_in(op))},
    )


def _defined(name: str) -> torch._ops.OpOverload | None:
    """The op; None where a kernel is registered for a name that no schema defines."""
    try:
        return find(name)
    except UnknownOp:
        return None


def _not_of_torch(op: torch._ops.OpOverload, spaces: set[str]) -> bool:
    """Whether an op is the user's: by the module that defined it, where that was seen, or else by its namespace."""
    module = defined_in(op)
    return module.partition(".")[0] != "torch" if module else op.namespace not in spaces


class Registered(NamedTuple):
    """What modules register: the names of ops, and of each module that cannot be imported what it raised.

    ``undefined`` names have a kernel and no schema. ``definers`` is the module that defines an op, where that was seen.
    """

    ops: list[str]
    failed: dict[str, str]
    undefined: list[str]
    definers: dict[str, str]


def _missing(name: str) -> str:
    space = name.partition("::")[0]
    known = names()
    same = [other for other in known if other.startswith(f"{space}::")]
    near = nearest(name, same or known)
    hint = f"did you mean {' or '.join(near)}?" if near and same else f"nothing registers the namespace {space!r}"
    return f"no op {name} in torch's dispatcher; {hint}" + ("" if same else " (give --import MODULE)")


def has_kernel(op: torch._ops.OpOverload, key: str) -> bool:
    """Whether the dispatcher has a kernel for a dispatch key."""
    present: bool = torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), key)
    return present


def is_composite(op: torch._ops.OpOverload) -> bool:
    """Whether torch traces through the op, so that the op needs no fake."""
    return has_kernel(op, "CompositeImplicitAutograd")


def devices(op: torch._ops.OpOverload) -> list[str]:
    """The device types with a kernel, either their own or a composite one."""
    every = is_composite(op) or has_kernel(op, "CompositeExplicitAutograd")
    return [name for name in ("cpu", "cuda", "xpu", "mps") if every or has_kernel(op, name.upper())]


def fake_function(op: torch._ops.OpOverload) -> Callable[..., Any] | None:
    """The op's fake as a Python function; None if it is not written in Python or cannot be reached."""
    name, made = op.name(), custom_op(op)  # with its overload: each overload has a fake of its own
    if name in registered():
        return registered()[name].fake
    if made is not None:
        fake: Callable[..., Any] | None = made._abstract_fn
        return fake
    kernel = torch._library.simple_registry.singleton.find(name).fake_impl.kernel
    return unwrap_fake(kernel.func) if kernel else None


def has_formula(op: torch._ops.OpOverload) -> bool:
    """Whether an autograd formula is registered. Every op of ``custom_op`` has an autograd kernel, with a formula or not."""
    made = custom_op(op)
    if made is not None:
        return made._backward_fn is not None
    return is_composite(op) or any(has_kernel(op, key) for key in ("Autograd", "AutogradCPU", "AutogradCUDA"))


def source_of(function: Callable[..., Any] | None) -> str:
    """The place of a Python function, ``file:line``; empty if unknown."""
    try:
        inner = inspect.unwrap(function) if function else None
        return f"{inspect.getsourcefile(inner)}:{inspect.getsourcelines(inner)[1]}" if inner else ""
    except (OSError, TypeError):
        return ""
