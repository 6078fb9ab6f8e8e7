"""Layer formulas: the formula of every number and tensor of a layer that varies with the sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.execution.members import Path
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.formula import Formula, Sizes, fit
from harness.proof.symbols.structures import Structure, category


@dataclass(frozen=True, slots=True)
class TensorFormula:
    """A tensor whose sizes vary: the formulas of its sizes, of its strides (None: contiguous) and of its offset."""

    shape: tuple[Formula, ...]
    stride: tuple[Formula, ...] | None
    offset: Formula

    def form(self, at: Sizes) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape and stride at plain sizes."""
        shape = tuple(size.of(at) for size in self.shape)
        if self.stride is not None:
            return shape, tuple(step.of(at) for step in self.stride)
        return shape, torch.empty(shape, device="meta").stride()

    def tensor(self, template: Tensor, symbols: Sequence[Any]) -> Tensor:
        """An empty tensor of this form over symbols, with the template's dtype and device."""
        shape = [size.of(symbols) for size in self.shape]
        if self.stride is None:
            return torch.empty(shape, dtype=template.dtype, device=template.device)
        stride = [step.of(symbols) for step in self.stride]
        offset = self.offset.of(symbols)
        elements = offset + 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        return torch.empty(elements, dtype=template.dtype, device=template.device).as_strided(shape, stride, offset)


Formulas = dict[Path, Formula | TensorFormula]
"""The formulas of a layer's varying leaves by path."""


def formulas_of(structure: Structure, structures: list[Structure], rounding: int) -> Formulas:
    """The formulas of one of the structures. Raises NotProvable where a leaf follows none.

    A formula that fits the samples of all structures is preferred, because more samples leave fewer wrong formulas: among
    multiples of 256 alone, ``h`` and ``h rounded up to 256`` cannot be told apart.
    """
    formulas: Formulas = {}
    for path, values in structure.leaves.items():
        kind = category(values[0])
        same = [one for one in structures if path in one.leaves and category(one.leaves[path][0]) == kind]
        sizes = [at for one in same for at in one.sizes]
        try:
            formula = _formula(path, [leaf for one in same for leaf in one.leaves[path]], sizes, rounding)
        except NotProvable:
            formula = _formula(path, values, structure.sizes, rounding)
        if formula is not None:
            formulas[path] = formula
    return formulas


def name_of(path: Path) -> str:
    """A leaf's name in a message."""
    return ".".join(path[1:]) if path[0] == "0" else f"input {path[-1]}"


def _formula(path: Path, values: list[Any], sizes: list[Sizes], rounding: int) -> Formula | TensorFormula | None:
    """The formula of one leaf; None where it does not vary. Raises NotProvable where no formula fits."""
    name = name_of(path)
    if isinstance(values[0], int) and not isinstance(values[0], bool):
        return _fitted(name, values, sizes, rounding) if len(set(values)) > 1 else None
    if not isinstance(values[0], Tensor) or len({(v.shape, v.stride(), v.storage_offset()) for v in values}) == 1:
        return None
    return _tensor_formula(name, values, sizes, rounding)


def _tensor_formula(name: str, values: list[Tensor], sizes: list[Sizes], rounding: int) -> TensorFormula:
    def each(what: str, rows: Sequence[Sequence[int]]) -> tuple[Formula, ...]:
        columns = zip(*rows, strict=True)
        return tuple(_fitted(f"{what} {d} of {name}", list(c), sizes, rounding) for d, c in enumerate(columns))

    shape = each("size", [tuple(value.shape) for value in values])
    offset = _fitted(f"offset of {name}", [int(value.storage_offset()) for value in values], sizes, rounding)
    # A symbolic tensor of computed strides adds guards; most tensors are contiguous and need none.
    if all(value.is_contiguous() for value in values) and not offset.terms and not offset.constant:
        return TensorFormula(shape, None, offset)
    return TensorFormula(shape, each("stride", [value.stride() for value in values]), offset)


def _fitted(what: str, numbers: list[int], sizes: list[Sizes], rounding: int) -> Formula:
    formula = fit(numbers, sizes, rounding)
    if formula is None:
        samples = zip(sizes, numbers, strict=True)
        listed = ", ".join(f"{number} at {at[0] if len(at) == 1 else at}" for at, number in samples)
        raise NotProvable(f"{what} of the layer follows no rule of the sizes: {listed}")
    return formula
