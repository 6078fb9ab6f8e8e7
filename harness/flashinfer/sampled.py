"""From samples by name to arguments of an op as this release declares it. ``sampled:OP`` is a samples function of the audit."""

import inspect
from collections.abc import Callable
from typing import Any

from harness.flashinfer import samples_moe, samples_quantize

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
    needed = [
        parameter.name for parameter in parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]  # fmt: skip
    lacking = [need for need in needed if not all(need in arguments for _, arguments in found)]
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
    raise Unsampled("there are no samples of it here")


def __getattr__(name: str) -> Callable[[], list[tuple[tuple[()], dict[str, Any]]]]:
    from harness.flashinfer.registered import CAPTURED

    for found in CAPTURED:
        if found.name == name and found.real is not None:
            real = found.real
            return lambda: [((), arguments) for _, arguments in fitting(name, real)]
    raise AttributeError(name)
