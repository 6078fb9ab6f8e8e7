"""The fields of a case that are shrunk, their values from simple to large, and what they come to in words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.matrix.case import Case
from harness.matrix.shapes import NVFP4_BLOCK
from harness.repro.shrinking.shrink import Shrunk, Values

_TOKENS = (1, 2, 3, 4, 7, 16, 33)
_EXPERTS = (1, 2, 3, 4, 8)
_SMALL = 512  # up to here every multiple of the block is tried, and beyond it powers of two


def values_of(case: Case) -> Values:
    """The fields of a case."""
    return {
        "shared": case.shared,
        "latent": case.latent,
        "tp": case.tp,
        "tokens": case.tokens,
        "top_k": case.top_k,
        "experts": case.experts,
        "intermediate": case.intermediate,
        "hidden": case.hidden,
        "scaling": case.scaling,
    }


def simpler(case: Case) -> dict[str, Sequence[Any]]:
    """The values of each field that are simpler than the case's own, the simplest first."""
    widths = _widths(case.hidden)
    own = values_of(case)
    wanted: dict[str, Sequence[Any]] = {
        "shared": (None, *_widths(case.shared or 0)),
        "latent": (None, *_widths(case.latent or 0)),
        "tp": (1, 2),
        "tokens": _TOKENS,
        "top_k": (1, 2),
        "experts": _EXPERTS,
        "intermediate": _widths(case.intermediate),
        "hidden": widths,
        "scaling": (1.0,),
    }
    return {name: [value for value in values if _below(value, own[name])] for name, values in wanted.items()}


def others(case: Case) -> dict[str, Sequence[Any]]:
    """For each field values that tell whether it matters, whatever the small case has."""
    rule = case.alignment.hidden
    return {
        "shared": (None, NVFP4_BLOCK) if case.shared else (),
        "latent": (None,) if case.latent else (),
        "tp": (1, 2),
        "tokens": (1, 2, 7, 33),
        "experts": (2, 3, 4),
        "hidden": (rule, 2 * rule, *(rule + NVFP4_BLOCK, 2 * rule - NVFP4_BLOCK) * (rule > NVFP4_BLOCK)),
    }


def changed(case: Case, values: Values) -> Case:
    """The case with other values. Its shape is one of no model, so its name says so."""
    sizes = {key: values[key] for key in ("hidden", "intermediate", "experts", "top_k", "latent")}
    shape = replace(
        case.shape, **sizes, shared_intermediate=values["shared"], name=f"{case.model.removesuffix('-shrunk')}-shrunk"
    )
    rest = {
        key: values[key] for key in ("hidden", "intermediate", "experts", "top_k", "shared", "tp", "tokens", "scaling")
    }
    return replace(case, shape=shape, overridden=False, **rest)


def possible(values: Values) -> bool:
    """Whether a layer can have these values."""
    return bool(values["top_k"] <= values["experts"])


def said(case: Case, shrunk: Shrunk) -> list[str]:
    """What matters and what does not, a phrase for each field: ``tokens=1, or any other``, ``needs a shared expert``."""
    phrases = [_phrase(name, case, shrunk) for name in ("tokens", "experts", "hidden", "shared", "latent", "tp")]
    return [phrase for phrase in phrases if phrase]


_NEEDED = {"shared": "a shared expert", "latent": "a latent projection"}


def _phrase(name: str, case: Case, shrunk: Shrunk) -> str:
    value, tried = shrunk.values[name], shrunk.others.get(name, {})
    if name in _NEEDED:
        return "" if value is None else f"needs {_NEEDED[name]}"
    if name == "hidden":
        return _hidden(value, case.alignment.hidden, tried)
    if name == "tp":
        return "" if value == 1 else f"needs tensor parallelism (tp={value})"
    if not tried:
        return f"{name}={value}"
    if all(tried.values()):
        return f"{name}={value}, or any other"
    if not any(tried.values()):
        return f"{name} must be {value}"
    fine = [str(other) for other, fails in tried.items() if not fails]
    return f"{name}={value}; not {' or '.join(fine)}"


def _hidden(value: int, rule: int, tried: Mapping[Any, bool]) -> str:
    known = {value: True, **tried}
    aligned = {fails for size, fails in known.items() if size % rule == 0}
    unaligned = {fails for size, fails in known.items() if size % rule}
    if not tried or len(known) < 3:
        return f"hidden={value}"
    if aligned == {False} and unaligned == {True}:
        return f"hidden={value}: it must not be a multiple of {rule}"
    if aligned == {True} and unaligned == {False}:
        return f"hidden={value}: it must be a multiple of {rule}"
    if aligned | unaligned == {True}:
        return f"hidden={value}, or any other"
    return f"hidden={value}; not {' or '.join(str(size) for size, fails in known.items() if not fails)}"


def _widths(most: int) -> list[int]:
    """Multiples of the block below a width, ascending; beyond a few hundred only powers of two and their halves in between."""
    small = [size for size in range(NVFP4_BLOCK, _SMALL + 1, NVFP4_BLOCK) if size < most]
    return small + [
        size for power in range(9, 21) for size in (2**power * 3 // 2, 2 ** (power + 1)) if _SMALL < size < most
    ]


def _below(value: Any, own: Any) -> bool:
    """Whether a value is simpler than the case's own: absent, or smaller."""
    if own is None:
        return False
    return value is None or value < own
