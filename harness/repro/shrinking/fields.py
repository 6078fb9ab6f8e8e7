"""The fields of a case that are shrunk, and their values from simple to large."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.matrix.case import Case
from harness.matrix.shapes import NVFP4_BLOCK
from harness.matrix.shrunk import sizes_of
from harness.repro.shrinking.shrink import Values

_TOKENS = (1, 2, 3, 4, 7, 16, 33)
_EXPERTS = (1, 2, 3, 4, 8)
_SMALL = 512  # up to here every multiple of the block is tried, and beyond it powers of two
_A_SCALING = 2.5
# What a small script has at most, if the finding shows in it at all.
GOALS = {"experts": 2, "tokens": 2}


def simpler(case: Case) -> dict[str, Sequence[Any]]:
    """The values of each field that are simpler than the case's own, the simplest first."""
    own = sizes_of(case)
    wanted: dict[str, Sequence[Any]] = {
        "shared": (None, *_widths(case.shared or 0)),
        "latent": (None, *_widths(case.latent or 0)),
        "tp": (1, 2),
        "tokens": _TOKENS,
        "top_k": (1, 2),
        "experts": _EXPERTS,
        "intermediate": _widths(case.intermediate),
        "hidden": _widths(case.hidden),
        "scaling": (1.0,),
    }
    return {name: [value for value in values if _below(value, own[name])] for name, values in wanted.items()}


def others(case: Case, small: Values) -> dict[str, Sequence[Any]]:
    """For each field values beside the small case's that tell whether it matters; none where a value would make no sense."""
    rule = case.alignment.hidden
    widths = (rule, 2 * rule, *(rule + NVFP4_BLOCK, 2 * rule - NVFP4_BLOCK) * (rule > NVFP4_BLOCK))
    wanted: dict[str, Sequence[Any]] = {
        "tokens": (1, 2, 7, 33, 65),
        "experts": (1, 2, 3, 4, 8),
        "hidden": widths,
        "latent": () if case.latent is None else (NVFP4_BLOCK, 48) if small["latent"] is None else (None, *widths),
        "shared": () if case.shared is None else (NVFP4_BLOCK, 48) if small["shared"] is None else (None,),
        "tp": (1, 2, 4),
        "top_k": (1, 2),
        "intermediate": (NVFP4_BLOCK, 48, 64, 80),
        "scaling": (1.0, _A_SCALING) if case.scaling != 1 else (),
    }
    return {
        name: [value for value in values if possible(small | {name: value})]
        for name, values in wanted.items()
        if values
    }


def possible(values: Mapping[str, Any]) -> bool:
    """Whether a layer can have these values."""
    return bool(values["top_k"] <= values["experts"])


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
