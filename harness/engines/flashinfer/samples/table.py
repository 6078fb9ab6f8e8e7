"""From samples by name to arguments of an op as this release declares it. ``sampled:OP`` is a samples function of the audit."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from harness.engines.flashinfer.declared.schema import required
from harness.engines.flashinfer.samples import backends, moe, quantize

Named = tuple[str, dict[str, Any]]


class Unsampled(Exception):
    """There are no samples of an op. The text says why."""


def fitting(name: str, real: Callable[..., Any]) -> list[Named]:
    """(what is special about it, arguments) of each sample that this release can be given. Raises Unsampled."""
    parameters = inspect.signature(real).parameters
    found: list[Named] = []
    for label, shared, about in _all(name):
        if all(special in parameters for special, value in about.items() if value is not None):
            every = shared | about
            found.append((label, {key: every[key] for key in parameters if key in every}))
    lacking = [need for need in required(real) if not all(need in arguments for _, arguments in found)]
    if lacking:
        raise Unsampled(f"it asks for {', '.join(lacking)}, which the samples here do not have")
    if not found:
        raise Unsampled("it lacks the parameters that the samples here are about")
    return found


def _all(name: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(label, what all samples share, what this one is about)."""
    for samples in (moe.SAMPLES, backends.SAMPLES):
        if name in samples:
            return list(samples[name]())
    if name in quantize.SAMPLES:
        return [(label, {}, about) for label, about in quantize.SAMPLES[name]()]
    return [("any arguments", {}, _any(name))]


def _any(name: str) -> dict[str, Any]:
    """Any arguments of an op whose body looks at none: it hands them to its kernel. Raises Unsampled."""
    from harness.engines.flashinfer.captured import registered

    if not registered.SCHEMAS[name].text:
        raise Unsampled("torch has no schema for it, nor for anything near it")
    told = torch._C.parse_schema(f"op{registered.SCHEMAS[name].text}")
    needed = [argument for argument in told.arguments if not argument.has_default_value()]
    kinds = {argument.name: _kind(argument, registered.written(name)) for argument in needed}
    unknown = [argument for argument, kind in kinds.items() if kind not in _ANY]
    if unknown:
        raise Unsampled(f"there are no samples of it here, nor of {', '.join(unknown)}")
    given = {argument: _ANY[kind]() for argument, kind in kinds.items()}
    if registered.kernels_own(name, given):
        raise Unsampled("what it returns is made by its kernel, not by FlashInfer's Python, and no fake is declared")
    return given


def _kind(argument: Any, written: Callable[[str], bool]) -> str:
    """Its type; nothing at all for what is optional, but for a tensor that is written."""
    kind = str(argument.type)
    return "Tensor" if kind == "Optional[Tensor]" and written(argument.name) else kind.partition("[")[0]


_ANY: dict[str, Callable[[], Any]] = {
    "Tensor": lambda: quantize.x(7, 80),
    "List": lambda: [quantize.x(7, 80)],
    "Optional": lambda: None,
    "int": lambda: 1,
    "float": lambda: 1.0,
    "bool": lambda: False,
}


def __getattr__(name: str) -> Callable[[], list[tuple[tuple[()], dict[str, Any]]]]:
    from harness.engines.flashinfer.captured.registered import CAPTURED

    for found in CAPTURED:
        if found.name == name and found.real is not None:
            real = found.real
            return lambda: [((), arguments) for _, arguments in fitting(name, real)]
    raise AttributeError(name)
