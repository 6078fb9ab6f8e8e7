"""Prove: from a subject and a case to a Proof for every size."""

from collections.abc import Iterable, Sequence

import numpy as np

from harness.matrix.case import Case
from harness.matrix.shapes import Shape, load
from harness.proof.proof import FAILS, NOT_PROVABLE, PROVEN, Proof, RegionText
from harness.proof.regions.grid import Partition, Region, pairs_of
from harness.proof.regions.partition import partition
from harness.proof.regions.points import Integers, Mask
from harness.proof.symbols.builder import AXES, NotBuilt, NotProvable
from harness.proof.symbols.structures import UnknownStructure
from harness.proof.symbols.symbolic_layer import SymbolicLayer, symbolic_layer
from harness.proof.symbols.trace import FAKE_DIFFERS, Outcome, run_at
from harness.proof.wording import describe, named
from harness.subjects.subject import Subject

_NAMES = ("hidden size", "latent width")
_SYMBOLS = ("h", "l")
# Real runs are made near these sizes: large enough for several blocks of padding, small enough to be fast.
_NEAR = (300, 1100)


def prove(subject: Subject, case: Case) -> Proof:
    """The proof for the layer of ``case`` at every hidden size, and at every latent width where it has one. Raises NotBuilt."""
    try:
        return prover(subject, case).proof()
    except UnknownStructure as error:
        return Proof(status=NOT_PROVABLE, sizes="", reason=str(error))
    except NotBuilt:
        raise  # a fault of the layer, not a limit of the proof
    except NotProvable as error:
        return Proof(status=NOT_PROVABLE, sizes="", reason=str(error), counterexample=error.sizes)


def prover(subject: Subject, case: Case) -> "Prover":
    """A Prover over the partition of all sizes. Raises NotProvable and UnknownStructure."""
    symbolic = symbolic_layer(subject, case)
    return Prover(symbolic, partition(symbolic))


class Prover:
    """Turns a partition into a proof, with real runs in every region."""

    def __init__(self, symbolic: SymbolicLayer, partition: Partition) -> None:
        self.symbolic, self.partition = symbolic, partition
        self.names = AXES[: len(partition.axes)]
        self.failing = [region for region in partition.regions if not region.trace.outcome.ok]

    def proof(self) -> Proof:
        """The proof. Raises NotProvable where a real run disagrees with its trace."""
        regions = [self._region(region) for region in self.partition.regions]
        count, total = self._count(self.failing), self._count(self.partition.regions, everything=True)
        counterexample, (at_one, one) = self._first(), self._one()
        if self.partition.specialised:
            return self._result(FAILS, regions, self._fixed(), count, total, counterexample)
        failing = self._described(self.failing) if self.failing else ""
        status = FAILS if self.failing or one else PROVEN
        only_one = "a size of 1 alone" if one else ""
        return self._result(status, regions, failing or only_one, count, total, counterexample or at_one, one)

    def _result(
        self,
        status: str,
        regions: Sequence[RegionText],
        failing: str,
        count: int,
        total: int,
        first: tuple[int, ...] | None,
        one: str = "",
    ) -> Proof:
        return Proof(
            status=status,
            sizes=self._sizes(),
            failing=failing if status == FAILS else "",
            count=count,
            total=total,
            counterexample=first,
            models=tuple(self._models()),
            regions=tuple(regions),
            beyond=self._beyond(),
            one=one,
            own_fails=self.fails_at(self.own),
        )

    @property
    def own(self) -> tuple[int, ...]:
        """The case's own sizes."""
        case = self.symbolic.builder.case
        return tuple(size for size in (case.hidden, case.latent) if size is not None)

    def fails_at(self, sizes: Sequence[int]) -> bool:
        """Whether these sizes are in a failing region."""
        return any(self._inside(region, sizes) for region in self.failing)

    def _sizes(self) -> str:
        spans = [
            f"{name} {axis.sizes[0]} to {self.partition.largest:,}" + (f" in steps of {step}" if step > 1 else "")
            for name, axis, step in zip(self.names, self.partition.axes, self.symbolic.steps, strict=True)
        ]
        return " x ".join(spans)

    def _fixed(self) -> str:
        fixed = named(self.partition.specialised, self.partition.regions[-1].trace.symbols, self.names)
        return f"every size needs a trace of its own ({fixed})"

    def _count(self, regions: Sequence[Region], everything: bool = False) -> int:
        if self._mixed:
            pairs = [pairs_of(self.partition, region) for region in regions]
            return pairs[0].size if everything else int(np.logical_or.reduce(pairs).sum()) if pairs else 0
        grid = self.partition.grid(regions)
        return grid.total if everything else grid.count

    @property
    def _mixed(self) -> bool:
        return any(region.mixed for region in self.partition.regions)

    def _described(self, regions: Sequence[Region]) -> str:
        """The sizes of regions as text: of one width only, where the other does not matter."""
        axes = self.partition.axes
        if self._mixed:
            return "pairs of sizes where " + " or ".join(self._guards(region) for region in regions)
        restricted = [a for a in range(len(axes)) if not all(region.sizes[a].all() for region in regions)]
        if len(restricted) <= 1:
            axis = restricted[0] if restricted else 0
            return self._axis_text(axis, np.logical_or.reduce([region.sizes[axis] for region in regions]))
        return "; ".join(
            " with ".join(self._axis_text(axis, region.sizes[axis]) for axis in range(len(axes))) for region in regions
        )

    def _axis_text(self, axis: int, among: Mask) -> str:
        return describe(self.partition.axes[axis].sizes, among, _NAMES[axis], self.symbolic.steps[axis])

    def _guards(self, region: Region) -> str:
        return " and ".join(named(guard, region.trace.symbols, self.names) for guard in region.trace.guards) or "always"

    def _region(self, region: Region) -> RegionText:
        """One region, after real runs in it. Raises NotProvable where a run and the trace disagree."""
        runs = list(self._runs(region))
        for sizes in runs:
            real, traced = run_at(self.symbolic, sizes), region.trace.outcome
            if real.ok != traced.ok and traced.kind != FAKE_DIFFERS:  # a wrong fake does no harm in a real run
                at = " and ".join(f"{name} {size}" for name, size in zip(self.names, sizes, strict=True))
                text = named(_ends(traced), region.trace.symbols, self.names)
                raise NotProvable(
                    f"trace and real run disagree at {at}: in the trace {text}; in the real run {_ends(real)}", sizes
                )
        symbols = region.trace.symbols
        return RegionText(
            where=self._described([region]),
            count=self._count([region]),
            ends=named(region.trace.outcome.text, symbols, self.names),
            guards=tuple(named(guard, symbols, self.names) for guard in region.trace.guards),
            runs=tuple(runs),
        )

    def _runs(self, region: Region) -> Iterable[tuple[int, ...]]:
        """A few sizes of a region to make real runs at."""
        if self._mixed:
            at = np.argwhere(pairs_of(self.partition, region))
            return [self._sizes_at(at[third * len(at) // 3]) for third in (1, 2)] if len(at) else []
        inside = [axis.sizes[mask] for axis, mask in zip(self.partition.axes, region.sizes, strict=True)]
        return list(dict.fromkeys(tuple(_nearest(sizes, near) for sizes in inside) for near in _NEAR))

    def _sizes_at(self, indices: Iterable[int]) -> tuple[int, ...]:
        return tuple(int(axis.sizes[index]) for axis, index in zip(self.partition.axes, indices, strict=True))

    def _first(self) -> tuple[int, ...] | None:
        """The smallest failing sizes; None where none fail."""
        if not self.failing:
            return None
        if self._mixed:
            at = np.argwhere(np.logical_or.reduce([pairs_of(self.partition, region) for region in self.failing]))
            return self._sizes_at(at[0]) if len(at) else None
        firsts: list[tuple[int, ...]] = [
            tuple(int(axis.sizes[mask][0]) for axis, mask in zip(self.partition.axes, region.sizes, strict=True))
            for region in self.failing
        ]
        return min(firsts)

    def _models(self) -> Iterable[str]:
        """The published models with the case's parts whose sizes fail."""
        case = self.symbolic.builder.case
        for shape in load().shapes.values():
            sizes = [size for size in (shape.hidden, shape.latent) if size is not None]
            if same_parts(shape, case) and self.fails_at(sizes):
                yield f"{'/'.join(map(str, sizes))} {shape.name}"

    def _inside(self, region: Region, sizes: Sequence[int]) -> bool:
        indices = [np.searchsorted(axis.sizes, size) for axis, size in zip(self.partition.axes, sizes, strict=True)]
        known = [axis.sizes for axis in self.partition.axes]
        if any(at >= len(on) or on[at] != size for at, on, size in zip(indices, known, sizes, strict=True)):
            return False
        if region.mixed:
            return bool(pairs_of(self.partition, region)[tuple(indices)])
        return all(bool(mask[at]) for mask, at in zip(region.sizes, indices, strict=True))

    def _one(self) -> tuple[tuple[int, ...] | None, str]:
        """(sizes, what goes wrong) at a size of 1, from real runs. No symbol can stand for 1, since torch specialises it."""
        if self.symbolic.steps[0] > 1:
            return None, ""
        tried = [(1,)] if len(self.names) == 1 else [(1, 300), (300, 1), (1, 1)]
        outcomes = [(sizes, run_at(self.symbolic, sizes)) for sizes in tried]
        return next(((sizes, outcome.text) for sizes, outcome in outcomes if not outcome.ok), (None, ""))

    def _beyond(self) -> str:
        """What holds above the largest size, as text."""
        if self._mixed:
            return f"not proven beyond {self.partition.largest:,}: a guard mixes hidden and latent"
        unknown = [text for region in self.partition.regions for text in region.unknown]
        every, bad = self.partition.grid(tail=True), self.partition.grid(self.failing, tail=True)
        if unknown:
            return f"not proven beyond {self.partition.largest:,}: {unknown[0]}"
        if not every.covered.all():
            return f"not proven beyond {self.partition.largest:,}: some sizes there take another path"
        return "no size beyond fails" if not bad.covered.any() else "sizes beyond fail by the same rule"


def _nearest(sizes: Integers, near: int) -> int:
    return int(sizes[min(int(np.searchsorted(sizes, near)), len(sizes) - 1)])


def _ends(outcome: Outcome) -> str:
    return "all is well" if outcome.ok else outcome.text


def same_parts(shape: Shape, case: Case) -> bool:
    """Whether a model has a latent width and a shared expert exactly where the case does."""
    return (shape.latent is None) == (case.latent is None) and (shape.shared_intermediate is None) == (
        case.shared is None
    )
