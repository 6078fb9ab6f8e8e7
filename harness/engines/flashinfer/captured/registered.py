"""Importing this module captures the importable FlashInfer and registers its ops with torch in a namespace of our own.

The real implementation of each op is FlashInfer's own Python around a stub kernel: it checks, allocates and returns.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.engines.flashinfer.captured import machine, standin
from harness.engines.flashinfer.captured.capture import Captured, capture
from harness.engines.flashinfer.declared.functions import SPACE
from harness.engines.flashinfer.declared.schema import Schema, infer, with_enums

# Arguments that a kernel writes even if no declaration says so: FlashInfer itself names them as outputs.
_OUTPUT = re.compile(r"output|(\w+_)?out")
_library = torch.library.Library(SPACE, "FRAGMENT")


def _named(name: str) -> Captured:
    return next(captured for captured in CAPTURED if captured.name == name)


def written(name: str) -> Callable[[str], bool]:
    """A test for the names of an op's arguments: whether a kernel writes the argument."""
    return _written(_named(name))


def _written(captured: Captured) -> Callable[[str], bool]:
    declared = () if isinstance(captured.mutates, str) else tuple(captured.mutates or ())
    return lambda name: name in declared or bool(_OUTPUT.fullmatch(name))


def running_kernels(captured: Captured, arguments: dict[str, Any]) -> Any:
    """A context in which the stub kernels know these arguments of an op."""
    return standin.running(arguments, _written(captured))


def _real(captured: Captured, schema: Schema) -> Callable[..., Any]:
    """The op's own body, run as on a GPU. While it runs, its stub kernels know which memory is the caller's."""
    assert captured.real is not None
    body = with_enums(captured.real)
    signature = inspect.signature(captured.real)

    @functools.wraps(body)
    def real(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        with running_kernels(captured, dict(bound.arguments)), machine.on_gpu():
            return _as_in_schema(body(*args, **kwargs), schema)

    return real


def _fake(function: Callable[..., Any], schema: Schema) -> Callable[..., Any]:
    """The op's own fake, run as on the same GPU."""
    body = with_enums(function)

    @functools.wraps(body)
    def fake(*args: Any, **kwargs: Any) -> Any:
        with machine.on_gpu():
            return _as_in_schema(body(*args, **kwargs), schema)

    return fake


def _as_in_schema(out: Any, schema: Schema) -> Any:
    """Put a single tensor into a list if the schema says a list: FlashInfer may return either."""
    return [out] if isinstance(out, torch.Tensor) and schema.text.endswith("-> Tensor[]") else out


def _register(captured: Captured, schema: Schema) -> None:
    _library.define(captured.name + schema.text)
    # Without a tensor argument there is no device to dispatch on. torch.library.custom_op uses the same key then.
    key = "CPU" if "Tensor" in schema.text else "CompositeExplicitAutograd"
    _library.impl(captured.name, _real(captured, schema), key)
    fake = captured.fake or (_no_fake if key != "CPU" else None)
    if fake is not None:
        torch.library.register_fake(f"{SPACE}::{captured.name}", _fake(fake, schema), lib=_library)


def _no_fake(*_: Any, **__: Any) -> None:
    """In place of a missing fake, as custom_op does it. Otherwise torch would trace through the body of an op of numbers."""
    raise RuntimeError("no fake is declared")


def kernels_own(name: str, arguments: dict[str, Any]) -> bool:
    """Whether an op without a fake returns its kernel's result, which a stub does not have. False if the body raises."""
    captured = _named(name)
    assert captured.real is not None
    given = tree_map_only(torch.Tensor, torch.clone, arguments)  # the body may write them
    try:
        with running_kernels(captured, given), machine.on_gpu():
            out = with_enums(captured.real)(**given)
    except Exception:  # the audit's rows say what it raises
        return False
    return captured.fake is None and any(isinstance(leaf, standin.Kernels) for leaf in tree_leaves(out))


CAPTURED = capture()
SCHEMAS = {captured.name: infer(captured.real, captured.mutates) for captured in CAPTURED if captured.real is not None}
for _captured in CAPTURED:
    if _captured.real is not None and SCHEMAS[_captured.name].text:
        _register(_captured, SCHEMAS[_captured.name])
