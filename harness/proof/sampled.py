"""Sampled: layers built at several sizes, and the same layer with every width in it a symbol.

Nobody writes a symbolic layer. Real ones are built at a dozen sizes, every number in them and in their inputs is fitted
to a formula of the sizes, and in a fresh layer each such number is replaced by its formula over symbols.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.case import Case
from harness.proof.fit import Formula, Sizes, fit
from harness.proof.leaves import Path, walk
from harness.proof.pieces import Piece, category, pieces
from harness.subject import Subject

AXES = ("hidden", "latent")
# Sizes with many remainders; of each power of two from 16 to 512, some that are its multiples and not the next one's.
# A layer at one of them costs a few milliseconds.
_HIDDEN = (35, 129, 272, 300, 448, 512, 517, 640, 768, 800, 1024, 1043, 1281, 1536)
_LATENT = (300, 512, 1281, 448, 1043, 768, 129, 800, 1024, 35, 640, 1536, 272, 517)
# Far above them, to see whether they are what they were below.
_LARGE, _LARGE_PAIR = (9100,), (2700, 2300)
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CPU = torch.device("cpu")


class NotProvable(Exception):
    """Why nothing can be said of every size; ``sizes`` is where a real run ended otherwise than the trace, if one did."""

    def __init__(self, reason: str, sizes: Sizes | None = None) -> None:
        super().__init__(reason)
        self.sizes = sizes


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the layer of a case at any sizes, with the smallest experts that there can be, and makes its inputs."""

    subject: Subject
    case: Case

    @property
    def ops(self) -> Sequence[str]:
        """The ops that a forward must dispatch."""
        return self.subject.ops(self.case)

    @property
    def axes(self) -> int:
        """1, or 2 where the case has a latent width."""
        return 1 if self.case.latent is None else 2

    def at(self, sizes: Sequence[int]) -> Case:
        """The case at these sizes."""
        case, hidden, latent = self.case, sizes[0], sizes[1] if len(sizes) > 1 else None
        shape = replace(case.shape, hidden=hidden, latent=latent)
        shared = None if case.shared is None else 32
        return replace(case, shape=shape, hidden=hidden, intermediate=16, shared=shared, experts=2, top_k=1)

    def build(self, sizes: Sequence[int], seed: int = 0) -> list[Any]:
        """[layer, [inputs]] at these sizes. Raises what the subject raises."""
        case = self.at(sizes)
        return [self.subject.build(case, _CPU), list(self.subject.inputs(case, case.tokens, seed, _CPU))]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the samples told: the step of each axis, the pieces, and per piece each varying number's formula."""

    builder: Builder
    steps: tuple[int, ...]
    pieces: tuple[Piece, ...]
    formulas: tuple[dict[Path, "Formula | TensorFormula"], ...]

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


def sample(subject: Subject, case: Case) -> Sampled:
    """Build layers of a case at several sizes and find out how they depend on them. Raises NotProvable."""
    builder = Builder(subject, case)
    steps = _steps(builder)
    lists = (_HIDDEN, _LATENT)[: builder.axes]
    sizes = [
        tuple(-(-size // step) * step for size, step in zip(at, steps, strict=True)) for at in zip(*lists, strict=True)
    ]
    sizes = list(dict.fromkeys(sizes))
    held = [_leaves(builder.build(at)) for at in sizes]
    again, shared = _again(builder, sizes[0])
    erratic = {path for path in held[0] if path not in again or category(held[0][path]) != category(again[path])}
    found = pieces(sizes, held, erratic, shared, case.alignment.hidden)
    formulas = tuple(_formulas(piece, found, case.alignment.hidden) for piece in found)
    sampled = Sampled(builder, steps, tuple(found), formulas)
    _verify(sampled)
    return sampled


def _verify(sampled: Sampled) -> None:
    """Raise NotProvable where a layer much larger than the samples is not as their formulas say."""
    large = _LARGE if sampled.builder.axes == 1 else _LARGE_PAIR
    at = tuple(size // step * step for size, step in zip(large, sampled.steps, strict=True))
    leaves = _leaves(sampled.builder.build(at))
    for path, formula in sampled.formulas[sampled.piece(at)].items():
        leaf = leaves.get(path)
        told = formula.form(at) if isinstance(formula, TensorFormula) else formula.of(at)
        real = (tuple(leaf.shape), leaf.stride()) if isinstance(leaf, Tensor) else leaf
        if told != real:
            raise NotProvable(f"{_name(path)} is {real} at {at}; layers up to {max(_HIDDEN)} say {told}")


def _steps(builder: Builder) -> tuple[int, ...]:
    """The smallest step of each axis at which layers can be built: some subjects take multiples of 16 only."""
    error: Exception | None = None
    for step in _STEPS:
        try:
            for about in (192, 320, 704):
                builder.build([(about // step + 1) * step] * builder.axes)
        except Exception as failure:  # the subject may refuse a size with any exception
            error = failure
        else:
            return (step,) * builder.axes
    raise NotProvable(f"the subject builds at no sizes but its own: {type(error).__name__}: {error}")


def _leaves(root: Any, shared: frozenset[int] = frozenset()) -> dict[Path, Any]:
    found: dict[Path, Any] = {}

    def note(path: Path, leaf: Any) -> Any:
        found[path] = leaf
        return leaf

    walk(root, note, shared)
    return found


def _again(builder: Builder, at: Sizes) -> tuple[dict[Path, Any], frozenset[int]]:
    """The leaves of one more layer of the same size, and the ids of objects that two layers share."""
    first, second = builder.build(at), builder.build(at)
    met = [walk(root, lambda _, leaf: leaf)[1] for root in (first, second)]
    return _leaves(second), frozenset(met[0] & met[1])


def _formulas(piece: Piece, every: list[Piece], rounding: int) -> dict[Path, Formula | TensorFormula]:
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


def _name(path: Path) -> str:
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

    name = _name(path)
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
