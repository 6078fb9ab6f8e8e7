"""Formulas: what each number and tensor of a layer is as a function of its sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.execution.members import Path
from harness.proof.symbols.builder import NotProvable
from harness.proof.symbols.fit import Formula, Sizes, fit
from harness.proof.symbols.pieces import Piece, category


@dataclass(frozen=True, slots=True)
class TensorFormula:
    """A tensor whose sizes vary: the formulas of its sizes, its strides (None: contiguous) and its offset."""

    shape: tuple[Formula, ...]
    stride: tuple[Formula, ...] | None
    offset: Formula

    def form(self, at: Sizes) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape and stride at plain sizes."""
        shape = tuple(size.of(at) for size in self.shape)
        if self.stride is not None:
            return shape, tuple(step.of(at) for step in self.stride)
        return shape, torch.empty(shape, device="meta").stride()

    def tensor(self, like: Tensor, symbols: Sequence[Any]) -> Tensor:
        """An empty tensor of this form, dtype and device as ``like``."""
        shape = [size.of(symbols) for size in self.shape]
        if self.stride is None:
            return torch.empty(shape, dtype=like.dtype, device=like.device)
        stride = [step.of(symbols) for step in self.stride]
        offset = self.offset.of(symbols)
        span = offset + 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        return torch.empty(span, dtype=like.dtype, device=like.device).as_strided(shape, stride, offset)


def formulas_of(piece: Piece, every: list[Piece], rounding: int) -> dict[Path, Formula | TensorFormula]:
    """Of one piece. A formula that fits all pieces comes first: aligned sizes alone fit too many."""
    found: dict[Path, Formula | TensorFormula] = {}
    for path, values in piece.leaves.items():
        kind = category(values[0])
        alike = [one for one in every if path in one.leaves and category(one.leaves[path][0]) == kind]
        sizes = [at for one in alike for at in one.sizes]
        try:
            formula = _formula(path, [leaf for one in alike for leaf in one.leaves[path]], sizes, rounding)
        except NotProvable:
            formula = _formula(path, values, piece.sizes, rounding)
        if formula is not None:
            found[path] = formula
    return found


def name_of(path: Path) -> str:
    """A leaf as a message names it."""
    return ".".join(path[1:]) if path[0] == "0" else f"input {path[-1]}"


def _formula(path: Path, values: list[Any], sizes: list[Sizes], rounding: int) -> Formula | TensorFormula | None:
    """None where nothing varies."""

    def fitted(what: str, numbers: list[int]) -> Formula:
        formula = fit(numbers, sizes, rounding)
        if formula is None:
            told = ", ".join(
                f"{number} at {at[0] if len(at) == 1 else at}" for at, number in zip(sizes, numbers, strict=True)
            )
            raise NotProvable(f"{what} of the layer follows no rule of the sizes: {told}")
        return formula

    name = name_of(path)
    if isinstance(values[0], int) and not isinstance(values[0], bool):
        return fitted(name, values) if len(set(values)) > 1 else None
    if not isinstance(values[0], Tensor) or len({(v.shape, v.stride(), v.storage_offset()) for v in values}) == 1:
        return None
    columns = list(zip(*(value.shape for value in values), strict=True))
    shape = tuple(fitted(f"size {dim} of {name}", list(column)) for dim, column in enumerate(columns))
    offset = fitted(f"offset of {name}", [value.storage_offset() for value in values])
    if all(value.is_contiguous() for value in values) and not offset.terms and not offset.constant:
        return TensorFormula(shape, None, offset)
    steps = zip(*(value.stride() for value in values), strict=True)
    return TensorFormula(shape, tuple(fitted(f"stride {d} of {name}", list(s)) for d, s in enumerate(steps)), offset)
