"""Importing this module captures the importable FlashInfer and registers its ops with torch, under a namespace of our own.

The real side of each op is FlashInfer's own Python, which checks, allocates and returns, around a stub kernel.
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

# What a kernel writes although no declaration may say so: buffers that FlashInfer itself calls outputs.
_OUTPUT = re.compile(r"output|(\w+_)?out")
_library = torch.library.Library(SPACE, "FRAGMENT")


def _named(name: str) -> Captured:
    return next(found for found in CAPTURED if found.name == name)


def written(name: str) -> Callable[[str], bool]:
    """Whether an argument of an op, by its name, is one that a kernel writes."""
    return _written(_named(name))


def _written(captured: Captured) -> Callable[[str], bool]:
    told = () if isinstance(captured.mutates, str) else tuple(captured.mutates or ())
    return lambda name: name in told or bool(_OUTPUT.fullmatch(name))


def running_kernels(captured: Captured, arguments: dict[str, Any]) -> Any:
    """A context in which the kernels know these arguments of an op."""
    return standin.running(arguments, _written(captured))


def _real(captured: Captured, schema: Schema) -> Callable[..., Any]:
    """The op's own body, as on a GPU; its kernels know which memory is the caller's while it runs."""
    assert captured.real is not None
    body = with_enums(captured.real)
    signature = inspect.signature(captured.real)

    @functools.wraps(body)
    def real(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        with running_kernels(captured, dict(bound.arguments)), machine.on_gpu():
            return _fitting(body(*args, **kwargs), schema)

    return real


def _fake(function: Callable[..., Any], schema: Schema) -> Callable[..., Any]:
    """The op's own fake, which is told of the same machine."""
    body = with_enums(function)

    @functools.wraps(body)
    def fake(*args: Any, **kwargs: Any) -> Any:
        with machine.on_gpu():
            return _fitting(body(*args, **kwargs), schema)

    return fake


def _fitting(out: Any, schema: Schema) -> Any:
    """One tensor in a list of its own where FlashInfer returns either and the schema has to say a list."""
    return [out] if isinstance(out, torch.Tensor) and schema.text.endswith("-> Tensor[]") else out


def _register(captured: Captured, schema: Schema) -> None:
    _library.define(captured.name + schema.text)
    # An op of numbers alone has no device to be dispatched by; custom_op registers it so too.
    key = "CPU" if "Tensor" in schema.text else "CompositeExplicitAutograd"
    _library.impl(captured.name, _real(captured, schema), key)
    fake = captured.fake or (_no_fake if key != "CPU" else None)
    if fake is not None:
        torch.library.register_fake(f"{SPACE}::{captured.name}", _fake(fake, schema), lib=_library)


def _no_fake(*_: Any, **__: Any) -> None:
    """In the place of a fake, as custom_op has it: without, torch would trace an op of numbers by its body."""
    raise RuntimeError("no fake is declared")


def kernels_own(name: str, arguments: dict[str, Any]) -> bool:
    """Whether an op without a fake hands back what its kernel gave, which is nothing here. False where it refuses."""
    found = _named(name)
    assert found.real is not None
    given = tree_map_only(torch.Tensor, torch.clone, arguments)  # it may write them
    try:
        with running_kernels(found, given), machine.on_gpu():
            out = with_enums(found.real)(**given)
    except Exception:  # the audit proper says what it raises
        return False
    return found.fake is None and any(isinstance(leaf, standin.Kernels) for leaf in tree_leaves(out))


CAPTURED = capture()
SCHEMAS = {found.name: infer(found.real, found.mutates) for found in CAPTURED if found.real is not None}
for _found in CAPTURED:
    if _found.real is not None and SCHEMAS[_found.name].text:
        _register(_found, SCHEMAS[_found.name])
