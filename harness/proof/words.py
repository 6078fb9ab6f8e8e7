"""Words: a set of sizes as a person would say it, and expressions with the names of their widths."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.proof.regions.points import Numbers, Truths

_MULTIPLES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 3, 5, 6, 7, 9, 12, 24, 48, 96, 192, 384, 768)
_FEW = 4


def describe(sizes: Numbers, among: Truths, name: str, step: int = 1) -> str:
    """``every hidden size that is not a multiple of 256``: the sizes where ``among`` holds. ``step`` divides them all."""
    every = f"every {name}" if step == 1 else f"every {name} that is a multiple of {step}"
    chosen = sizes[among]
    if not len(chosen):
        return f"no {name}"
    if among.all():
        return every
    if len(chosen) <= _FEW:
        return f"{name} {_listed(chosen.tolist())}"
    inside = (sizes >= chosen[0]) & (sizes <= chosen[-1])
    span = _span(sizes, chosen)
    rule = _rule(sizes[inside], among[inside])
    if rule is None:
        return f"{len(chosen):,} {name}s, among them {_listed(chosen[:_FEW].tolist())}"
    # A rule's own first and last sizes are no bounds of it.
    free = _rule(sizes, among)
    return f"{every}{_and(free if free is not None else rule, '' if free is not None else span)}"


def _span(sizes: Numbers, chosen: Numbers) -> str:
    low, high = int(chosen[0]), int(chosen[-1])
    if high == sizes[-1]:
        return f"from {low} on"
    return f"up to {high}" if low == sizes[0] else f"from {low} to {high}"


def _and(rule: str, span: str) -> str:
    return " ".join(["", *(part for part in (rule, span) if part)])


def _rule(sizes: Numbers, among: Truths) -> str | None:
    """What the chosen sizes have in common and no other has; empty where all are chosen, None where it is unknown."""
    if among.all():
        return ""
    for multiple in _MULTIPLES:
        rest = sizes % multiple
        inside = np.flatnonzero(np.bincount(rest[among], minlength=multiple))
        if not np.array_equal(_among(rest, inside, multiple), among):
            continue
        outside = np.setdiff1d(np.flatnonzero(np.bincount(rest, minlength=multiple)), inside)
        if len(inside) <= len(outside):
            left = "is" if inside.tolist() == [0] else f"leaves {_listed(inside.tolist())} as remainder"
            return f"that is a multiple of {multiple}" if left == "is" else f"that {left} by {multiple}"
        if outside.tolist() == [0]:
            return f"that is not a multiple of {multiple}"
        if len(outside) <= _FEW:
            return f"that does not leave {_listed(outside.tolist())} as remainder by {multiple}"
        return None
    return None


def _among(rest: Numbers, inside: Numbers, multiple: int) -> Truths:
    table = np.zeros(multiple, dtype=np.bool_)
    table[inside] = True
    return table[rest]


def _listed(numbers: Sequence[Any]) -> str:
    texts = [f"{number}" for number in numbers]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def named(expression: Any, symbols: Sequence[Any], names: Sequence[str]) -> str:
    """An expression, or a text that holds symbols, with the names of the widths in their place."""
    text = str(expression)
    for symbol, name in zip(symbols, names, strict=True):
        text = re.sub(rf"\b{re.escape(str(symbol))}\b", name, text)
    return text
