"""From samples by name to arguments of an op as this release declares it. ``sampled:OP`` is a samples function of the audit."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from harness.flashinfer import samples_moe, samples_quantize
from harness.flashinfer.schema import required

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
    if name in samples_moe.SAMPLES:
        return list(samples_moe.SAMPLES[name]())
    if name in samples_quantize.SAMPLES:
        return [(label, {}, about) for label, about in samples_quantize.SAMPLES[name]()]
    return [("any arguments: it returns nothing", {}, _any(name))]


def _any(name: str) -> dict[str, Any]:
    """Arguments of an op that returns nothing: what it says that it writes can be looked at with tensors of any size."""
    from harness.flashinfer.registered import SCHEMAS

    text = SCHEMAS[name].text if name in SCHEMAS else ""
    if not text.endswith("-> ()"):
        raise Unsampled("there are no samples of it here")
    told = torch._C.parse_schema(f"op{text}")
    needed = [argument for argument in told.arguments if not argument.has_default_value()]
    unknown = [argument.name for argument in needed if str(argument.type) not in _ANY]
    if unknown:
        raise Unsampled(f"there are no samples of it here, nor of {', '.join(unknown)}")
    return {argument.name: _ANY[str(argument.type)]() for argument in needed}


_ANY: dict[str, Callable[[], Any]] = {
    "Tensor": lambda: samples_quantize.x(7, 80),
    "List[Tensor]": lambda: [samples_quantize.x(7, 80)],
    "Optional[Tensor]": lambda: None,
    "int": lambda: 1,
    "float": lambda: 1.0,
    "bool": lambda: False,
}


def __getattr__(name: str) -> Callable[[], list[tuple[tuple[()], dict[str, Any]]]]:
    from harness.flashinfer.registered import CAPTURED

    for found in CAPTURED:
        if found.name == name and found.real is not None:
            real = found.real
            return lambda: [((), arguments) for _, arguments in fitting(name, real)]
    raise AttributeError(name)
