"""Numbers and tensors of a layer over symbolic sizes as text: formulas of ``hidden`` and ``latent``."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.proof.symbols.builder import AXES
from harness.proof.symbols.formula import Formula, Term
from harness.proof.symbols.layer_formulas import TensorFormula


def number(formula: Formula) -> str:
    """A formula as an expression: ``hidden_256 * 256``, whose names ``blocks_of`` defines."""
    added = [_scaled(term, *factor.as_integer_ratio()) for term, factor in formula.terms]
    added += [("", str(formula.constant))] * (formula.constant > 0 or not added)
    added += [("-", str(-formula.constant))] * (formula.constant < 0)
    added.sort(key=lambda part: part[0])  # what is taken away comes last
    head, *rest = added
    return "".join([*head, *(f" {sign or '+'} {text}" for sign, text in rest)])


def blocks(term: Term) -> str:
    """The name of a number of blocks."""
    return f"{AXES[term.axis]}_{term.multiple}"


def blocks_of(formulas: Iterable[Formula | TensorFormula]) -> list[str]:
    """Lines that define the numbers of blocks in formulas: ``hidden_256 = (hidden + 255) // 256``."""
    terms = (term for one in formulas for number in _parts(one) for term, _ in number.terms if term.multiple > 1)
    lines = (f"{blocks(t)} = ({AXES[t.axis]} + {t.multiple - 1}) // {t.multiple}" for t in terms)
    return list(dict.fromkeys(lines))


def _parts(formula: Formula | TensorFormula) -> tuple[Formula, ...]:
    if isinstance(formula, Formula):
        return (formula,)
    return (*formula.shape, *(formula.stride or ()), formula.offset)


def empty(formula: TensorFormula, template: Tensor) -> str:
    """An empty tensor of a formula's form, of the template's dtype."""
    shape = [number(size) for size in formula.shape]
    if formula.stride is None:
        return _empty(shape, template)
    stride, offset = [number(step) for step in formula.stride], number(formula.offset)
    last = " + ".join(f"({size} - 1) * ({step})" for size, step in zip(shape, stride, strict=True))
    return f"{_empty([f'{offset} + 1 + {last}'], template)}.as_strided(({_row(shape)}), ({_row(stride)}), {offset})"


def empty_like(value: Any) -> str:
    """An empty tensor of a tensor's own form; any other value as it is."""
    return _empty([str(size) for size in value.shape], value) if isinstance(value, Tensor) else repr(value)


def _empty(shape: Sequence[str], template: Tensor) -> str:
    dtype = "" if template.dtype is torch.float32 else f", dtype={template.dtype}"
    return f"torch.empty({', '.join(shape) or '()'}{dtype})"


def _row(values: Sequence[str]) -> str:
    return f"{', '.join(values)}," if len(values) == 1 else ", ".join(values)


def _scaled(term: Term, factor: int, divisor: int) -> tuple[str, str]:
    """The sign of a term, and the term times its factor. A fraction keeps its sign, since it is rounded down."""
    name = AXES[term.axis]
    base = name if term.multiple == 1 else blocks(term)
    sign = "-" if factor < 0 and divisor == 1 else ""
    factor = abs(factor) if sign else factor
    return sign, base + (f" * {factor}" if factor != 1 else "") + (f" // {divisor}" if divisor != 1 else "")
