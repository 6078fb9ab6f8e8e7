"""Who registered an op, and with which Python functions. torch does not tell, so that its Library is observed at import."""

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch

from harness.ops.registry import registered


@dataclass(slots=True)
class Registration:
    """The module that defined an op, and the Python function registered for each dispatch key."""

    module: str = ""
    kernels: dict[str, Callable[..., Any]] = field(default_factory=dict)


# ``torch.library.define`` is a function of functools, and any other may stand between. A script is ``__main__``.
_BETWEEN = sys.stdlib_module_names - {"__main__"}
# What of torch registers the ops of others. Any other module of torch registers its own, and may be imported by anybody.
_REGISTERS = ("torch.library", "torch._library", "torch._custom_op", "torch._ops", "torch.utils")
_seen: dict[str, Registration] = {}


def observe() -> None:
    """Record what ``torch.library.Library`` registers from now on. A second call changes nothing."""
    library: Any = torch.library.Library
    if hasattr(library.impl, "__wrapped__"):
        return
    define, implement = library.define, library.impl

    @functools.wraps(define)
    def observed_define(self: Any, schema: str, *args: Any, **kwargs: Any) -> Any:
        name = f"{self.ns}::{schema.partition('(')[0].strip()}"
        _seen.setdefault(name, Registration()).module = _caller()
        return define(self, schema, *args, **kwargs)

    @functools.wraps(implement)
    def observed_impl(self: Any, op_name: Any, fn: Any, dispatch_key: str = "", **kwargs: Any) -> Any:
        name = op_name.name() if isinstance(op_name, torch._ops.OpOverload) else str(op_name)
        name = name if "::" in name else f"{self.ns}::{name}"
        _seen.setdefault(name, Registration()).kernels[dispatch_key or self.dispatch_key] = fn
        return implement(self, op_name, fn, dispatch_key, **kwargs)

    library.define, library.impl = observed_define, observed_impl


def _caller() -> str:
    """The nearest module on the stack that is neither a registry, torch's or the harness's, nor Python's own, such as functools."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        top = name.partition(".")[0]
        passes = top in _BETWEEN or name in ("harness.ops.registry", __name__)
        if not passes and not re.match(rf"({'|'.join(map(re.escape, _REGISTERS))})(\.|s?$)", name):
            return name
        frame = frame.f_back
    return ""


def custom_op(op: torch._ops.OpOverload) -> Any:
    """The ``CustomOpDef`` of an op that ``torch.library.custom_op`` made; None for any other."""
    return getattr(torch._library.custom_ops, "OPDEFS", {}).get(op.name())


def known_ops() -> list[str]:
    """The names of the ops whose registration was seen, or that ``torch.library.custom_op`` made."""
    return sorted({*_seen, *getattr(torch._library.custom_ops, "OPDEFS", {})})


def implementations(op: torch._ops.OpOverload) -> list[Callable[..., Any]]:
    """The op's real implementations that are Python functions."""
    name, made = op.name(), custom_op(op)
    if name in registered():
        return list(registered()[name].reals.values())
    if made is not None:
        return list(dict.fromkeys([made._init_fn, *made._backend_fns.values()]))
    kernels = _seen[name].kernels if name in _seen else {}
    return [kernel for key, kernel in kernels.items() if callable(kernel) and _computes(key)]


def _computes(key: str) -> bool:
    """Whether a kernel of this dispatch key computes, as a backend's does. Others wrap such a call: a rule for vmap, a gradient."""
    known = getattr(torch._C.DispatchKey, key or "CompositeImplicitAutograd", None)
    backends = torch._C.DispatchKey.CompositeExplicitAutograd
    wraps = key == "Meta" or key.startswith(("Autograd", "FuncTorch"))  # torch counts some of these aliases as backends
    return not wraps and known is not None and torch._C._dispatch_is_included_in_alias(known, backends)


def defined_in(op: torch._ops.OpOverload) -> str:
    """The module that defined the op; empty if unknown."""
    made = custom_op(op)
    if made is not None:
        return str(made._init_fn.__module__)
    return _seen[op.name()].module if op.name() in _seen else ""
