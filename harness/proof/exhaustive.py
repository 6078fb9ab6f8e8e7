"""Exhaustive: a real run at every size up to a bound, compared with what the proof says of that size."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.matrix.case import Case
from harness.proof.prove import Prover, prover
from harness.proof.symbols.trace import run_at
from harness.subjects.subject import Subject


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many sizes ran, how many of them failed, and the sizes where the proof and the run disagree."""

    ran: int
    failed: int
    disagree: tuple[tuple[int, ...], ...]


def compare(subject: Subject, case: Case, largest: int) -> Comparison:
    """Run the layer at every size from 2 to ``largest``. With a latent width, vary one size and leave the other at the case's own.

    Raises NotProvable and UnknownStructure where there is no proof.
    """
    proven = prover(subject, case)
    runs = [(sizes, run_at(proven.symbolic, sizes).ok) for sizes in _sizes(proven, largest)]
    disagree = tuple(sizes for sizes, ok in runs if ok == proven.fails_at(sizes))
    return Comparison(len(runs), sum(not ok for _, ok in runs), disagree)


def _sizes(proven: Prover, largest: int) -> Iterator[tuple[int, ...]]:
    steps, own = proven.symbolic.steps, proven.own
    for axis, step in enumerate(steps):
        first = -(-2 // step) * step
        for size in range(first, largest + 1, step):
            yield (*own[:axis], size, *own[axis + 1 :])
