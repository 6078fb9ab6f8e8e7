"""Fixed: sizes at which a trace holds for that size alone, and sizes at which a trace fails, for a script that shows them."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.matrix.case import Case
from harness.matrix.shapes import NVFP4_BLOCK
from harness.proof.regions.grid import Partition, Region
from harness.proof.regions.partition import partition, region_of
from harness.proof.regions.single import MOST_SINGLE, is_single
from harness.proof.symbols.formula import Sizes
from harness.proof.symbols.layer_formulas import Formulas
from harness.proof.symbols.symbolic_layer import SymbolicLayer

# Sizes that layers have, tried before those that the partition found.
_USUAL = 32


@dataclass(frozen=True, slots=True)
class Fixed:
    """``sizes``, whose traces show something, all of one ``structure`` of a layer; they vary on ``axis``."""

    symbolic: SymbolicLayer
    structure: int
    axis: int
    sizes: tuple[Sizes, ...]

    @property
    def formulas(self) -> Formulas:
        """Those of the structure."""
        return self.symbolic.formulas[self.structure]

    @property
    def case(self) -> Case:
        """The case at the first of the sizes."""
        return self.symbolic.builder.at(self.sizes[0])


def fixed(symbolic: SymbolicLayer) -> Fixed | None:
    """Sizes whose traces hold at no other size, as many as make a layer `specialised`; None where one structure has fewer.

    Raises NotProvable.
    """
    so_far = partition(symbolic)
    for axis in range(len(so_far.axes)):
        seen = [region.trace.hint for region in so_far.regions if is_single(region, axis)]
        if len(seen) >= MOST_SINGLE:
            return _of_one_structure(symbolic, so_far, axis, seen)
    return None


def failing(symbolic: SymbolicLayer, kind: str) -> Fixed | None:
    """Sizes whose trace ends as ``kind`` says; None where none does. Raises NotProvable."""
    so_far = partition(symbolic)
    seen = [region.trace.hint for region in so_far.regions if region.trace.outcome.kind == kind]
    for at in [*_usual(symbolic, seen[0], 0), *seen] if seen else []:
        structure = symbolic.structure_at(at)
        if region_of(symbolic, so_far, structure, at).trace.outcome.kind == kind:
            return Fixed(symbolic, structure, 0, (at,))
    return None


def _of_one_structure(symbolic: SymbolicLayer, so_far: Partition, axis: int, seen: list[Sizes]) -> Fixed | None:
    found: dict[int, list[Sizes]] = {}
    for at in dict.fromkeys((*_usual(symbolic, seen[0], axis), *seen)):
        structure = symbolic.structure_at(at)
        if _is_alone(region_of(symbolic, so_far, structure, at), axis):
            found.setdefault(structure, []).append(at)
        if len(found.get(structure, ())) == MOST_SINGLE:
            return Fixed(symbolic, structure, axis, tuple(found[structure]))
    return None


def _is_alone(region: Region, axis: int) -> bool:
    return is_single(region, axis) and region.trace.outcome.ok


def _usual(symbolic: SymbolicLayer, at: Sizes, axis: int) -> Iterator[Sizes]:
    """Small sizes on one axis that layers have, the other as it is."""
    step = symbolic.steps[axis]
    sizes = (size for size in range(NVFP4_BLOCK, NVFP4_BLOCK * (_USUAL + 1), NVFP4_BLOCK) if size % step == 0)
    yield from ((*at[:axis], size, *at[axis + 1 :]) for size in sizes)
