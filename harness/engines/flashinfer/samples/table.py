"""Fit the samples to the ops as a release declares them. Each op's name in this module is a samples function of the audit."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from harness.engines.flashinfer.declared.schema import required
from harness.engines.flashinfer.samples import backends, moe, quantize

Named = tuple[str, dict[str, Any]]


class NoSamples(Exception):
    """An op has no samples. The text says why."""


def fitting(name: str, real: Callable[..., Any]) -> list[Named]:
    """(label, arguments) of each sample that this release's op accepts. Raises NoSamples."""
    parameters = inspect.signature(real).parameters
    fitted: list[Named] = []
    for label, shared, about in _all(name):
        if all(special in parameters for special, value in about.items() if value is not None):
            every = shared | about
            fitted.append((label, {key: every[key] for key in parameters if key in every}))
    lacking = [need for need in required(real) if not all(need in arguments for _, arguments in fitted)]
    if lacking:
        raise NoSamples(f"it needs {', '.join(lacking)}, which the harness's samples do not have")
    if not fitted:
        raise NoSamples("it lacks the parameters that the harness's samples need")
    return fitted


def _all(name: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(label, shared arguments, special arguments) of each sample."""
    for samples in (moe.SAMPLES, backends.SAMPLES):
        if name in samples:
            return list(samples[name]())
    if name in quantize.SAMPLES:
        return [(label, {}, about) for label, about in quantize.SAMPLES[name]()]
    return [("any arguments", {}, _any(name))]


def _any(name: str) -> dict[str, Any]:
    """Arbitrary arguments, for an op whose body only passes them to its kernel. Raises NoSamples."""
    from harness.engines.flashinfer.captured import registered

    if not registered.SCHEMAS[name].text:
        raise NoSamples("torch can infer no schema for it, not even with small changes")
    schema = torch._C.parse_schema(f"op{registered.SCHEMAS[name].text}")
    needed = [argument for argument in schema.arguments if not argument.has_default_value()]
    kinds = {argument.name: _kind(argument, registered.written(name)) for argument in needed}
    unknown = [argument for argument, kind in kinds.items() if kind not in _ANY]
    if unknown:
        raise NoSamples(f"the harness has no samples for it, and cannot make up {', '.join(unknown)}")
    given = {argument: _ANY[kind]() for argument, kind in kinds.items()}
    if registered.kernels_own(name, given):
        raise NoSamples("its kernel makes its outputs, not FlashInfer's Python, and no fake is declared")
    return given


def _kind(argument: Any, written: Callable[[str], bool]) -> str:
    """The argument's type. An optional tensor counts as a tensor only if the op writes it."""
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

    for captured in CAPTURED:
        if captured.name == name and captured.real is not None:
            real = captured.real
            return lambda: [((), arguments) for _, arguments in fitting(name, real)]
    raise AttributeError(name)
