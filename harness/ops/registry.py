"""The custom-op registry: one decorator gives an op its schema, real and fake implementations, samples and alignment rule."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import torch

from harness.ops.by_name import ByName
from harness.ops.names import qualified_name

Implementation = Callable[..., Any]
Samples = Callable[[torch.device], Iterable[tuple[Any, ...]]]

_registry: dict[str, "RegisteredOp"] = {}
# A Library undoes its registrations when it is garbage-collected, so each namespace's stays here.
_libraries: dict[str, torch.library.Library] = {}


def _library(namespace: str) -> torch.library.Library:
    return _libraries.setdefault(namespace, torch.library.Library(namespace, "FRAGMENT"))


@dataclass
class RegisteredOp:
    """A custom op that Dynamo sees as one opaque node. Call it like a function, or call ``overload``, its OpOverload.

    torch holds a fixed trampoline for each device and for the fake. A trampoline looks the implementation up here at each
    call, so that ``planted`` can replace one. ``calls`` counts the calls of real implementations in this process.
    """

    name: str
    schema: str
    fake: Implementation
    samples: Samples | None = None
    alignment: str | None = None
    reals: dict[str, Implementation] = field(default_factory=dict)
    calls: int = 0

    def __post_init__(self) -> None:
        namespace, _, short = self.name.partition("::")
        library = _library(namespace)
        library.define(short + self.schema)
        torch.library.register_fake(self.name, lambda *args, **kwargs: self.fake(*args, **kwargs), lib=library)
        # Looked up once: Dynamo traces through __call__, and every attribute access there costs compile time.
        self.overload: torch._ops.OpOverload = getattr(getattr(torch.ops, namespace), short).default
        _registry[self.name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the op as ``torch.ops`` does."""
        return self.overload(*args, **kwargs)

    def impl(self, device: str) -> Callable[[Implementation], Implementation]:
        """A decorator that adds the real implementation for a device type (``cpu``, ``cuda``)."""

        def register(function: Implementation) -> Implementation:
            new = device not in self.reals
            self.reals[device] = function
            if new:
                namespace, _, name = self.name.partition("::")
                _library(namespace).impl(name, self._trampoline(device), device.upper())
            return function

        return register

    def _trampoline(self, device: str) -> Implementation:
        def real(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return self.reals[device](*args, **kwargs)

        return real

    @contextmanager
    def planted(self, *, fake: Implementation | None = None, real: Implementation | None = None) -> Iterator[None]:
        """Replace the fake, or the real implementation on every device, inside a ``with`` block."""
        before = self.fake, dict(self.reals)
        self.fake = fake or self.fake
        self.reals.update(dict.fromkeys(self.reals, real) if real else {})
        try:
            yield
        finally:
            self.fake, self.reals = before

    @contextmanager
    def replaced(self, function: Implementation) -> Iterator[None]:
        """Call ``function`` in place of the op inside a ``with`` block, wherever the op is called through this object.

        A trace goes through the function, where ``planted`` leaves one opaque node. ``torch.ops`` still has the op.
        """
        before = self.overload
        self.overload = cast(torch._ops.OpOverload, function)
        try:
            yield
        finally:
            self.overload = before


def register_op(
    name: str,
    schema: str = "",
    *,
    fake: Implementation | ByName,
    devices: Iterable[str] = ("cpu", "cuda"),
    samples: Samples | None = None,
    alignment: str | None = None,
) -> Callable[[Implementation], RegisteredOp]:
    """Define ``namespace::name`` and make the decorated function its real implementation on ``devices``.

    ``schema`` is the signature without the name, ``(Tensor x, SymInt width) -> Tensor``. Without one,
    ``torch.library.infer_schema`` reads it from the function's annotations: an int is a SymInt, and nothing is written to.
    ``fake`` takes the same arguments, or with ``by_name`` those that it names, and returns empty outputs. It must be a pure
    function of them, so pass widths as arguments. ``samples`` yields argument tuples for the audit. ``alignment`` names the
    rule that the op's widths follow.

    Uses ``torch.library.define`` and ``impl`` (2 us a call), not ``custom_op`` (6 us).
    """

    def register(function: Implementation) -> RegisteredOp:
        signature = schema or torch.library.infer_schema(function, mutates_args=())
        whole = fake.bind(signature) if isinstance(fake, ByName) else fake
        op = RegisteredOp(name, signature, whole, samples, alignment)
        for device in devices:
            op.impl(device)(function)
        return op

    return register


def registered() -> dict[str, RegisteredOp]:
    """Every op registered in this process, by name."""
    return dict(_registry)


def sources(name: str) -> str:
    """Schema and source code of any op. A cache of compiled code must be keyed by it, beside the fake's outputs."""
    if name in _registry:
        op = _registry[name]
        return "\n".join([op.schema, _source(op.fake), *(_source(real) for real in op.reals.values())])
    namespace, _, short = name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), short)
    overloads = [getattr(packet, overload) for overload in packet.overloads()]
    entries = [torch._library.simple_registry.singleton.find(qualified_name(overload)) for overload in overloads]
    fakes = [entry.fake_impl.kernel for entry in entries]
    return "\n".join(
        [
            *(str(overload._schema) for overload in overloads),
            *(_source(unwrap_fake(fake.func)) for fake in fakes if fake),
        ]
    )


def unwrap_fake(fake: Implementation) -> Implementation:
    """The user's function inside the wrapper that ``torch.library.register_fake`` makes."""
    inner = inspect.getclosurevars(fake).nonlocals.get("func") if inspect.isfunction(fake) else None
    return inner if callable(inner) else fake


@cache
def _source(function: Implementation) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # built in a REPL, by exec, or in C
        return repr(getattr(function, "__code__", function))
