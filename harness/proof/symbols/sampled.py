"""Sampled: layers built at several sizes, and the same layer with every width in it a symbol.

Nobody writes a symbolic layer. Real ones are built at a dozen sizes, every number in them and in their inputs is fitted
to a formula of the sizes, and in a fresh layer each such number is replaced by its formula over symbols.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.execution.members import Path, walk
from harness.matrix.case import Case
from harness.proof.symbols.builder import Builder, NotProvable, steps_of
from harness.proof.symbols.fit import Formula, Sizes
from harness.proof.symbols.formulas import TensorFormula, formulas_of, name_of
from harness.proof.symbols.pieces import Piece, category, pieces
from harness.subjects.subject import Subject

# Sizes with many remainders; of each power of two from 16 to 512, some that are its multiples and not the next one's.
# A layer at one of them costs a few milliseconds.
_HIDDEN = (35, 129, 272, 300, 448, 512, 517, 640, 768, 800, 1024, 1043, 1281, 1536)
_LATENT = (300, 512, 1281, 448, 1043, 768, 129, 800, 1024, 35, 640, 1536, 272, 517)
# Far above them, to see whether they are what they were below.
_LARGE, _LARGE_PAIR = (9100,), (2700, 2300)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the samples told: the step of each axis, the pieces, and per piece each varying number's formula."""

    builder: Builder
    steps: tuple[int, ...]
    pieces: tuple[Piece, ...]
    formulas: tuple[dict[Path, Formula | TensorFormula], ...]

    def piece(self, at: Sizes) -> int:
        """The piece that these sizes are in. Raises NotProvable."""
        for place, piece in enumerate(self.pieces):
            if all((at[axis] % multiple == 0) == yes for axis, multiple, yes in piece.tests):
                return place
        raise NotProvable(f"no layer of the structure that {at} has was built")

    def symbolic(self, place: int, symbols: Sequence[Any]) -> tuple[Any, list[Tensor]]:
        """A fresh layer of one piece and its inputs, each varying number its formula over ``symbols``.

        Call it under the FakeTensorMode that made the symbols.
        """
        formulas = self.formulas[place]

        def put(path: Path, leaf: Any) -> Any:
            formula = formulas.get(path)
            if formula is None:
                return leaf
            return formula.tensor(leaf, symbols) if isinstance(formula, TensorFormula) else formula.of(symbols)

        root = _without_fakes(lambda: self.builder.build(self.pieces[place].sample))
        (layer, inputs), _ = walk(root, put, self.pieces[place].shared)
        return layer, inputs


def _without_fakes(make: Callable[[], list[Any]]) -> list[Any]:
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        return make()


def sample(subject: Subject, case: Case) -> Sampled:
    """Build layers of a case at several sizes and find out how they depend on them. Raises NotProvable."""
    builder = Builder(subject, case)
    steps = steps_of(builder)
    lists = (_HIDDEN, _LATENT)[: builder.axes]
    sizes = [
        tuple(-(-size // step) * step for size, step in zip(at, steps, strict=True)) for at in zip(*lists, strict=True)
    ]
    sizes = list(dict.fromkeys(sizes))
    twice = [builder.build(sizes[0]) for _ in range(2)]  # what differs between them, or is one in both, is no size's
    (first, met), (again, met_again) = map(_held, twice)
    shared = frozenset(met & met_again)
    held = [first, *(_held(builder.build(at))[0] for at in sizes[1:])]
    erratic = {path for path in first if path not in again or _form(first[path]) != _form(again[path])}
    found = pieces(sizes, held, erratic, shared, case.alignment.hidden)
    formulas = tuple(formulas_of(piece, found, case.alignment.hidden) for piece in found)
    sampled = Sampled(builder, steps, tuple(found), formulas)
    _verify(sampled)
    return sampled


def _verify(sampled: Sampled) -> None:
    """Raise NotProvable where a layer much larger than the samples is not as their formulas say."""
    large = _LARGE if sampled.builder.axes == 1 else _LARGE_PAIR
    at = tuple(size // step * step for size, step in zip(large, sampled.steps, strict=True))
    leaves, _ = _held(sampled.builder.build(at))
    for path, formula in sampled.formulas[sampled.piece(at)].items():
        leaf = leaves.get(path)
        told = formula.form(at) if isinstance(formula, TensorFormula) else formula.of(at)
        real = (tuple(leaf.shape), leaf.stride()) if isinstance(leaf, Tensor) else leaf
        if told != real:
            raise NotProvable(f"{name_of(path)} is {real} at {at}; layers up to {max(_HIDDEN)} say {told}")


def _held(root: Any) -> tuple[dict[Path, Any], set[int]]:
    """The leaves below an object, and the ids of the objects that hold them."""
    found: dict[Path, Any] = {}

    def note(path: Path, leaf: Any) -> Any:
        found[path] = leaf
        return leaf

    return found, walk(root, note)[1]


def _form(leaf: Any) -> Any:
    """All of a leaf that a size may decide."""
    if isinstance(leaf, Tensor):
        return category(leaf), leaf.shape, leaf.stride(), leaf.storage_offset()
    return category(leaf), leaf
