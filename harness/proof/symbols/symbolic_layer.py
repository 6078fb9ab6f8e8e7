"""SymbolicLayer: a real layer in which every number that depends on the sizes is a symbolic expression.

No subject has to write a symbolic layer. Real layers are built at a dozen sample sizes, and a formula of the sizes is fitted
to every number in them and in their inputs. In a fresh layer each such number is then replaced by its formula over symbols.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.execution.members import Path, walk
from harness.matrix.case import Case
from harness.proof.symbols.builder import Builder, NotProvable, steps_of
from harness.proof.symbols.formula import Sizes
from harness.proof.symbols.layer_formulas import Formulas, TensorFormula, formulas_of, name_of
from harness.proof.symbols.structures import Leaves, Structure, category, group_by_structure
from harness.subjects.subject import Subject

# Sizes with many different remainders. For each power of two from 16 to 512, some are multiples of it and not of the next
# one. A layer at one of these sizes costs a few milliseconds.
_HIDDEN = (35, 129, 272, 300, 448, 512, 517, 640, 768, 800, 1024, 1043, 1281, 1536)
_LATENT = (300, 512, 1281, 448, 1043, 768, 129, 800, 1024, 35, 640, 1536, 272, 517)
# Far larger sizes, to check that the formulas still hold there.
_LARGE, _LARGE_PAIR = (9100,), (2700, 2300)


@dataclass(frozen=True, slots=True)
class SymbolicLayer:
    """The result of sampling: the step of each axis, the structures, and for each the formulas of its varying leaves."""

    builder: Builder
    steps: tuple[int, ...]
    structures: tuple[Structure, ...]
    formulas: tuple[Formulas, ...]

    def structure_at(self, sizes: Sizes) -> int:
        """The index of the structure that a layer of these sizes has. Raises NotProvable."""
        for index, structure in enumerate(self.structures):
            if structure.includes(sizes):
                return index
        raise NotProvable(f"no layer of the structure that {sizes} has was built")

    def over(self, index: int, symbols: Sequence[Any]) -> tuple[Any, list[Tensor]]:
        """A fresh layer of one structure and its inputs, with the formulas over ``symbols`` in place of varying leaves.

        Call it under the FakeTensorMode that made the symbols.
        """
        formulas = self.formulas[index]

        def replace(path: Path, leaf: Any) -> Any:
            formula = formulas.get(path)
            if formula is None:
                return leaf
            return formula.tensor(leaf, symbols) if isinstance(formula, TensorFormula) else formula.of(symbols)

        root = _without_fakes(lambda: self.builder.build(self.structures[index].sample))
        (layer, inputs), _ = walk(root, replace, self.structures[index].shared)
        return layer, inputs


def _without_fakes(make: Callable[[], list[Any]]) -> list[Any]:
    """The layer is built from real tensors: reading weights or drawing random numbers fails on fakes."""
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        return make()


def symbolic_layer(subject: Subject, case: Case, whole: bool = False) -> SymbolicLayer:
    """Build layers of a case at the sample sizes and fit formulas to them. Raises NotProvable and UnknownStructure.

    The experts are few and small; ``whole`` leaves them as the case has them.
    """
    builder = Builder(subject, case, whole)
    steps = steps_of(builder)
    sizes = _sample_sizes(builder.axes, steps)
    # Two layers of the same sizes. A leaf that differs between them does not depend on the sizes, and an object that both
    # refer to belongs to neither. Both are alive at once, since an id is unique only while its object lives.
    twice = [builder.build(sizes[0]) for _ in range(2)]
    (first, met_first), (second, met_second) = map(_leaves_of, twice)
    erratic = {path for path in first if path not in second or _form(first[path]) != _form(second[path])}
    layers = [first, *(_leaves_of(builder.build(at))[0] for at in sizes[1:])]
    rounding = case.alignment.hidden
    structures = group_by_structure(sizes, layers, erratic, frozenset(met_first & met_second), rounding)
    formulas = tuple(formulas_of(structure, structures, rounding) for structure in structures)
    layer = SymbolicLayer(builder, steps, tuple(structures), formulas)
    _verify(layer)
    return layer


def _sample_sizes(axes: int, steps: tuple[int, ...]) -> list[Sizes]:
    """The sample sizes, each rounded up to the step of its axis."""
    columns = (_HIDDEN, _LATENT)[:axes]
    rounded = [
        tuple(-(-size // step) * step for size, step in zip(at, steps, strict=True))
        for at in zip(*columns, strict=True)
    ]
    return list(dict.fromkeys(rounded))


def _verify(layer: SymbolicLayer) -> None:
    """Raise NotProvable where a layer much larger than the samples does not follow the formulas."""
    large = _LARGE if layer.builder.axes == 1 else _LARGE_PAIR
    at = tuple(size // step * step for size, step in zip(large, layer.steps, strict=True))
    leaves, _ = _leaves_of(layer.builder.build(at))
    for path, formula in layer.formulas[layer.structure_at(at)].items():
        leaf = leaves.get(path)
        expected = formula.form(at) if isinstance(formula, TensorFormula) else formula.of(at)
        real = (tuple(leaf.shape), leaf.stride()) if isinstance(leaf, Tensor) else leaf
        if expected != real:
            raise NotProvable(f"{name_of(path)} is {real} at {at}; layers up to {max(_HIDDEN)} suggest {expected}")


def _leaves_of(root: Any) -> tuple[Leaves, set[int]]:
    """The leaves below an object by path, and the ids of the objects that hold them."""
    leaves: Leaves = {}

    def add(path: Path, leaf: Any) -> Any:
        leaves[path] = leaf
        return leaf

    return leaves, walk(root, add)[1]


def _form(leaf: Any) -> Any:
    """All of a leaf that the sizes may decide: a tensor's values do not count."""
    if isinstance(leaf, Tensor):
        return category(leaf), leaf.shape, leaf.stride(), leaf.storage_offset()
    return category(leaf), leaf
