"""Prove: from a subject and a case to what is known of every size."""

from collections.abc import Iterable, Sequence

import numpy as np

from harness.matrix.case import Case
from harness.matrix.shapes import Shape, load
from harness.proof.proof import FAILS, NOT_PROVABLE, PROVEN, Proof, RegionText
from harness.proof.regions.grid import Partition, Region, pairs_of
from harness.proof.regions.partition import partition
from harness.proof.regions.points import Numbers, Truths
from harness.proof.symbols.builder import AXES, NotProvable
from harness.proof.symbols.pieces import Unknown
from harness.proof.symbols.sampled import Sampled, sample
from harness.proof.symbols.traced import FAKE_DIFFERS, Outcome, concrete
from harness.proof.words import describe, named
from harness.subjects.subject import Subject

_NAMES = ("hidden size", "latent width")
_SYMBOLS = ("h", "l")
# Real runs of a region: not so small that nothing is padded twice, nor so large that they take long.
_NEAR = (300, 1100)


def prove(subject: Subject, case: Case) -> Proof:
    """What is known of the layer of ``case`` at every hidden size, and at every latent width where it has one."""
    try:
        return prover(subject, case).proof()
    except Unknown as error:
        return Proof(status=NOT_PROVABLE, sizes="", reason=str(error))
    except NotProvable as error:
        return Proof(status=NOT_PROVABLE, sizes="", reason=str(error), counterexample=error.sizes)


def prover(subject: Subject, case: Case) -> "Prover":
    """The partition of all sizes, to be asked. Raises NotProvable and Unknown."""
    sampled = sample(subject, case)
    return Prover(sampled, partition(sampled))


class Prover:
    """Answers about a partition."""

    def __init__(self, sampled: Sampled, found: Partition) -> None:
        self.sampled, self.found = sampled, found
        self.names = AXES[: len(found.axes)]
        self.failing = [region for region in found.regions if not region.trace.outcome.ok]

    def proof(self) -> Proof:
        """The proof; where real runs say otherwise than the traces, no proof."""
        regions = [self._region(region) for region in self.found.regions]
        count, total = self._count(self.failing), self._count(self.found.regions, everything=True)
        counterexample, (at_one, one) = self._first(), self._one()
        if self.found.specialised:
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
        case = self.sampled.builder.case
        return tuple(size for size in (case.hidden, case.latent) if size is not None)

    def fails_at(self, sizes: Sequence[int]) -> bool:
        """Whether these sizes are in a failing region."""
        return any(self._inside(region, sizes) for region in self.failing)

    def _sizes(self) -> str:
        spans = [
            f"{name} {axis.sizes[0]} to {self.found.largest:,}" + (f" in steps of {step}" if step > 1 else "")
            for name, axis, step in zip(self.names, self.found.axes, self.sampled.steps, strict=True)
        ]
        return " x ".join(spans)

    def _fixed(self) -> str:
        fixed = named(self.found.specialised, self.found.regions[-1].trace.symbols, self.names)
        return f"every size is a trace of its own ({fixed})"

    def _count(self, regions: Sequence[Region], everything: bool = False) -> int:
        if self._mixed:
            pairs = [pairs_of(self.found, region) for region in regions]
            return pairs[0].size if everything else int(np.logical_or.reduce(pairs).sum()) if pairs else 0
        grid = self.found.grid(regions)
        return grid.total if everything else grid.count

    @property
    def _mixed(self) -> bool:
        return any(region.mixed for region in self.found.regions)

    def _described(self, regions: Sequence[Region]) -> str:
        """The sizes of regions in words: of one width where the other does not matter."""
        axes = self.found.axes
        if self._mixed:
            return "pairs of sizes where " + " or ".join(self._guards(region) for region in regions)
        asked = [a for a in range(len(axes)) if not all(region.sizes[a].all() for region in regions)]
        if len(asked) <= 1:
            axis = asked[0] if asked else 0
            return self._axis_words(axis, np.logical_or.reduce([region.sizes[axis] for region in regions]))
        return "; ".join(
            " with ".join(self._axis_words(axis, region.sizes[axis]) for axis in range(len(axes))) for region in regions
        )

    def _axis_words(self, axis: int, among: Truths) -> str:
        return describe(self.found.axes[axis].sizes, among, _NAMES[axis], self.sampled.steps[axis])

    def _guards(self, region: Region) -> str:
        return " and ".join(named(guard, region.trace.symbols, self.names) for guard in region.trace.guards) or "always"

    def _region(self, region: Region) -> RegionText:
        """One region, after real runs in it. Raises NotProvable where one ends otherwise."""
        runs = list(self._runs(region))
        for sizes in runs:
            real, traced = concrete(self.sampled, sizes), region.trace.outcome
            if real.ok != traced.ok and traced.kind != FAKE_DIFFERS:  # a lie that need not do harm, yet is one
                at = " and ".join(f"{name} {size}" for name, size in zip(self.names, sizes, strict=True))
                text = named(_ends(traced), region.trace.symbols, self.names)
                raise NotProvable(f"trace and real run disagree at {at}: traced, {text}; really, {_ends(real)}", sizes)
        symbols = region.trace.symbols
        return RegionText(
            where=self._described([region]),
            count=self._count([region]),
            ends=named(region.trace.outcome.text, symbols, self.names),
            guards=tuple(named(guard, symbols, self.names) for guard in region.trace.guards),
            runs=tuple(runs),
        )

    def _runs(self, region: Region) -> Iterable[tuple[int, ...]]:
        """A few sizes of a region: real runs are made there."""
        if self._mixed:
            at = np.argwhere(pairs_of(self.found, region))
            return [self._sizes_at(at[part * len(at) // 3]) for part in (1, 2)] if len(at) else []
        inside = [axis.sizes[mask] for axis, mask in zip(self.found.axes, region.sizes, strict=True)]
        return list(dict.fromkeys(tuple(_nearest(sizes, near) for sizes in inside) for near in _NEAR))

    def _sizes_at(self, places: Iterable[int]) -> tuple[int, ...]:
        return tuple(int(axis.sizes[place]) for axis, place in zip(self.found.axes, places, strict=True))

    def _first(self) -> tuple[int, ...] | None:
        """The smallest failing sizes."""
        if not self.failing:
            return None
        if self._mixed:
            at = np.argwhere(np.logical_or.reduce([pairs_of(self.found, region) for region in self.failing]))
            return self._sizes_at(at[0]) if len(at) else None
        firsts: list[tuple[int, ...]] = [
            tuple(int(axis.sizes[mask][0]) for axis, mask in zip(self.found.axes, region.sizes, strict=True))
            for region in self.failing
        ]
        return min(firsts)

    def _models(self) -> Iterable[str]:
        """Published models of this structure whose sizes fail."""
        case = self.sampled.builder.case
        for shape in load().shapes.values():
            sizes = [size for size in (shape.hidden, shape.latent) if size is not None]
            if alike(shape, case) and self.fails_at(sizes):
                yield f"{'/'.join(map(str, sizes))} {shape.name}"

    def _inside(self, region: Region, sizes: Sequence[int]) -> bool:
        places = [np.searchsorted(axis.sizes, size) for axis, size in zip(self.found.axes, sizes, strict=True)]
        ends = [axis.sizes for axis in self.found.axes]
        if any(at >= len(known) or known[at] != size for at, known, size in zip(places, ends, sizes, strict=True)):
            return False
        if region.mixed:
            return bool(pairs_of(self.found, region)[tuple(places)])
        return all(bool(mask[at]) for mask, at in zip(region.sizes, places, strict=True))

    def _one(self) -> tuple[tuple[int, ...] | None, str]:
        """Where and what goes wrong at a size of one, which no symbol stands for: to torch it is a number of its own."""
        if self.sampled.steps[0] > 1:
            return None, ""
        tried = [(1,)] if len(self.names) == 1 else [(1, 300), (300, 1), (1, 1)]
        ends = [(sizes, concrete(self.sampled, sizes)) for sizes in tried]
        return next(((sizes, end.text) for sizes, end in ends if not end.ok), (None, ""))

    def _beyond(self) -> str:
        """What is known of the sizes above the largest."""
        if self._mixed:
            return "nothing beyond: a guard mixes hidden and latent"
        unknown = [text for region in self.found.regions for text in region.unknown]
        every, bad = self.found.grid(tail=True), self.found.grid(self.failing, tail=True)
        if unknown:
            return f"not proven beyond {self.found.largest:,}: {unknown[0]}"
        if not every.covered.all():
            return f"not proven beyond {self.found.largest:,}: some sizes there take another way"
        return "no size beyond fails" if not bad.covered.any() else "sizes beyond fail by the same rule"


def _nearest(sizes: Numbers, near: int) -> int:
    return int(sizes[min(int(np.searchsorted(sizes, near)), len(sizes) - 1)])


def _ends(outcome: Outcome) -> str:
    return "all is well" if outcome.ok else outcome.text


def alike(shape: Shape, case: Case) -> bool:
    """Whether a model has the parts that the case has."""
    return (shape.latent is None) == (case.latent is None) and (shape.shared_intermediate is None) == (
        case.shared is None
    )
