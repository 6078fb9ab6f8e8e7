"""Wording: a set of sizes described as text, and expressions with widths' names in place of symbols."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.proof.regions.points import Integers, Mask

_MULTIPLES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 3, 5, 6, 7, 9, 12, 24, 48, 96, 192, 384, 768)
_FEW = 4
# Sizes that rule most rules out: looking at all of them for each multiple takes most of a description's time.
_FIRST = 2048


def describe(sizes: Integers, among: Mask, name: str, step: int = 1) -> str:
    """Describe the sizes where ``among`` is true: ``every hidden size that is not a multiple of 256``.

    ``name`` is what a size is called; ``step`` divides all sizes.
    """
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
    # If the rule describes the set without bounds, its first and last sizes are no bounds.
    free = _rule(sizes, among)
    return f"{every}{_and(free if free is not None else rule, '' if free is not None else span)}"


def _span(sizes: Integers, chosen: Integers) -> str:
    low, high = int(chosen[0]), int(chosen[-1])
    if high == sizes[-1]:
        return f"from {low} on"
    return f"up to {high}" if low == sizes[0] else f"from {low} to {high}"


def _and(rule: str, span: str) -> str:
    return " ".join(["", *(part for part in (rule, span) if part)])


def _rule(sizes: Integers, among: Mask) -> str | None:
    """A rule on remainders that exactly the chosen sizes follow; empty where all are chosen, None where none is found."""
    if among.all():
        return ""
    for multiple in _MULTIPLES:
        if _inside(sizes[:_FIRST] % multiple, among[:_FIRST], multiple) is None:
            continue
        remainders = sizes % multiple
        inside = _inside(remainders, among, multiple)
        if inside is not None:
            outside = np.setdiff1d(np.flatnonzero(np.bincount(remainders, minlength=multiple)), inside)
            return _remainder_rule(inside.tolist(), outside.tolist(), multiple)
    return None


def _remainder_rule(inside: list[int], outside: list[int], multiple: int) -> str | None:
    """The rule that remainders ``inside`` are in the set and those ``outside`` are not; None where it would be too long."""
    if len(inside) <= len(outside):
        if inside == [0]:
            return f"that is a multiple of {multiple}"
        return f"with remainder {_listed(inside, 'or')} modulo {multiple}"
    if outside == [0]:
        return f"that is not a multiple of {multiple}"
    return f"whose remainder modulo {multiple} is not {_listed(outside, 'or')}" if len(outside) <= _FEW else None


def _inside(remainders: Integers, among: Mask, multiple: int) -> Integers | None:
    """The remainders of the chosen sizes; None where other sizes have one of these too, so that they make no rule."""
    inside: Integers = np.flatnonzero(np.bincount(remainders[among], minlength=multiple))
    table = np.zeros(multiple, dtype=np.bool_)
    table[inside] = True
    return inside if np.array_equal(table[remainders], among) else None


def _listed(numbers: Sequence[Any], conjunction: str = "and") -> str:
    texts = [f"{number}" for number in numbers]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {conjunction} {texts[-1]}"


def named(expression: Any, symbols: Sequence[Any], names: Sequence[str]) -> str:
    """An expression or a text with the widths' names in place of its symbols."""
    text = str(expression)
    for symbol, name in zip(symbols, names, strict=True):
        text = re.sub(rf"\b{re.escape(str(symbol))}\b", name, text)
    return text
