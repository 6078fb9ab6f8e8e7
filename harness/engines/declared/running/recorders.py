"""Record what is passed to the functions that declare ops, torch's own and an engine's helpers, and then call them."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.engines.declared.running.recorded import Recorder

Function = Callable[..., Any]


def wrapped(helper: Function, recorder: Recorder) -> Function:
    """A helper that records what it is given and then does its own work. Its parameters say what kind of helper it is."""
    names = list(inspect.signature(helper).parameters)
    if "op_func" in names:
        return _direct(helper, recorder)
    if getattr(helper, "__name__", "").startswith(("register_fake", "impl_abstract")):
        return _fake(helper, recorder)
    return _named(helper, recorder) if names[:1] == ["name"] else _unnamed(helper, recorder)


def _direct(helper: Function, recorder: Recorder) -> Function:
    """``direct_register_custom_op(op_name, op_func, mutates_args, fake_impl)``."""

    @functools.wraps(helper)
    def direct(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(helper).bind(*args, **kwargs).arguments
        recorder.op(given["op_name"], given["op_func"], given.get("mutates_args") or (), given.get("fake_impl"))
        if "dispatch_key" in inspect.signature(helper).parameters:
            kwargs["dispatch_key"] = "CPU"  # that other bodies can call it through the dispatcher
        return _tried(helper, *args, **kwargs)

    return direct


def _named(helper: Function, recorder: Recorder) -> Function:
    """``custom_op(name, fn, mutates_args=...)``, and FlashInfer's helper of the same form."""

    @functools.wraps(helper)
    def named(name: str, fn: Function | None = None, /, **options: Any) -> Any:
        def declare(function: Function) -> Any:
            # As the engine did: FlashInfer's helper always returns a decorator.
            return helper(name, **options)(function) if fn is None else helper(name, function, **options)

        def record(function: Function) -> Any:
            recorder.op(name, function, options.get("mutates_args", ()))
            made = _tried(declare, function)
            return Shim(function, name, recorder) if made is None else made

        return record if fn is None else record(fn)

    return named


def _unnamed(helper: Function, recorder: Recorder) -> Function:
    """SGLang's ``register_custom_op(fn, op_name=..., mutates_args=..., out_shape=... or fake_impl=...)``."""

    @functools.wraps(helper)
    def unnamed(fn: Function | None = None, **options: Any) -> Any:
        def record(function: Function) -> Any:
            name = options.get("op_name") or function.__name__
            recorder.op(name, function, options.get("mutates_args") or (), shaped(function, options))
            return _tried(helper, function, **options) or function

        return record if fn is None else record(fn)

    return unnamed


def shaped(function: Function, options: dict[str, Any]) -> Function | None:
    """The fake: as given, or like the argument that ``out_shape`` names; None for an op that returns nothing."""
    if "fake_impl" in options:
        given: Function = options["fake_impl"]
        return given
    if options.get("out_shape") is None:
        return None
    signature, shape = inspect.signature(function), options["out_shape"]

    @functools.wraps(function)
    def fake(*args: Any, **kwargs: Any) -> Tensor:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return torch.empty_like(bound.args[shape] if isinstance(shape, int) else bound.arguments[shape])

    return fake


def _fake(helper: Function, recorder: Recorder) -> Function:
    """``register_fake(name, fn)``."""

    @functools.wraps(helper)
    def fake(name: Any, fn: Function | None = None, /, **options: Any) -> Any:
        def record(function: Function) -> Function:
            recorder.fake(name, function)
            _tried(helper, name, function, **options)
            return function

        return record if fn is None else record(fn)

    return fake


def _tried(helper: Function, *args: Any, **kwargs: Any) -> Any:
    """What the helper returns; None where torch refuses the declaration. The rows report that."""
    try:
        return helper(*args, **kwargs)
    except Exception:
        return None


class Shim:
    """In place of the op that torch refused to make: it calls the function, and takes what is registered for it."""

    def __init__(self, function: Function, name: str, recorder: Recorder) -> None:
        functools.update_wrapper(self, function)
        self._function, self._op, self._recorder = function, name, recorder

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself."""
        return self._function(*args, **kwargs)

    def register_fake(self, function: Function) -> Function:
        """Record the fake."""
        self._recorder.fake(self._op, function)
        return function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: lambda function: function


def install(recorder: Recorder) -> None:
    """Record what torch's own functions are given from now on."""
    library: Any = torch.library
    for name in ("custom_op", "triton_op", "register_fake", "impl_abstract"):
        if callable(getattr(library, name, None)):
            setattr(library, name, wrapped(getattr(library, name), recorder))


def add_definitions(recorder: Recorder) -> None:
    """The fakes of the ops of ``torch.library.custom_op``, which may be registered on the op itself."""
    for name, made in getattr(torch._library.custom_ops, "OPDEFS", {}).items():
        if made._abstract_fn is not None:
            recorder.fake(name.rpartition(".")[0] if name.count(".") else name, made._abstract_fn)
            recorder.fake(name, made._abstract_fn)
