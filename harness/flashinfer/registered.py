"""Importing this module captures the importable FlashInfer and registers its ops with torch, under a namespace of our own.

The real side of each op is FlashInfer's own Python, which checks, allocates and returns, around a stub kernel.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from harness.flashinfer import standin
from harness.flashinfer.capture import Captured, capture
from harness.flashinfer.declared import SPACE
from harness.flashinfer.schema import Schema, infer, with_enums

# What a kernel writes although no declaration may say so: buffers that FlashInfer itself calls outputs.
_OUTPUTS = ("output", "out")
_library = torch.library.Library(SPACE, "FRAGMENT")


def _written(captured: Captured) -> Callable[[str], bool]:
    told = () if isinstance(captured.mutates, str) else tuple(captured.mutates or ())
    return lambda name: name in told or name in _OUTPUTS


def running_kernels(captured: Captured, arguments: dict[str, Any]) -> Any:
    """A context in which the kernels know these arguments of an op."""
    return standin.running(arguments, _written(captured))


def _real(captured: Captured) -> Callable[..., Any]:
    """The op's own body; its kernels know which memory is the caller's while it runs."""
    assert captured.real is not None
    body = with_enums(captured.real)
    signature = inspect.signature(captured.real)

    @functools.wraps(body)
    def real(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        with running_kernels(captured, dict(bound.arguments)):
            return _listed(body(*args, **kwargs))

    return real


def _listed(out: Any) -> Any:
    """A tuple where FlashInfer returns one; the dispatcher takes no other sequence than a list or a tuple."""
    return list(out) if isinstance(out, list) else out


def _register(captured: Captured, schema: Schema) -> None:
    _library.define(captured.name + schema.text)
    _library.impl(captured.name, _real(captured), "CPU")
    if captured.fake is not None:
        torch.library.register_fake(f"{SPACE}::{captured.name}", with_enums(captured.fake), lib=_library)


CAPTURED = capture()
SCHEMAS = {found.name: infer(found.real, found.mutates) for found in CAPTURED if found.real is not None}
for _found in CAPTURED:
    if _found.real is not None and SCHEMAS[_found.name].text:
        _register(_found, SCHEMAS[_found.name])
