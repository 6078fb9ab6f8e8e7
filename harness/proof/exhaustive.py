"""Exhaustive: real runs at every size up to a bound, beside what the proof says of each."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.matrix.case import Case
from harness.proof.prove import Prover, prover
from harness.proof.symbols.traced import concrete
from harness.subjects.subject import Subject


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many sizes ran, how many of them failed, and those of which the proof says otherwise."""

    ran: int
    failed: int
    disagree: tuple[tuple[int, ...], ...]


def compare(subject: Subject, case: Case, largest: int) -> Comparison:
    """Run the layer at every size from 2 to ``largest``; with a latent width, along both axes through the case's own.

    Raises NotProvable and Unknown where there is no proof to compare with.
    """
    proven = prover(subject, case)
    runs = [(sizes, concrete(proven.sampled, sizes).ok) for sizes in _sizes(proven, largest)]
    disagree = tuple(sizes for sizes, ok in runs if ok == proven.fails_at(sizes))
    return Comparison(len(runs), sum(not ok for _, ok in runs), disagree)


def _sizes(proven: Prover, largest: int) -> Iterator[tuple[int, ...]]:
    steps, own = proven.sampled.steps, proven.own
    for axis, step in enumerate(steps):
        first = -(-2 // step) * step
        for size in range(first, largest + 1, step):
            yield (*own[:axis], size, *own[axis + 1 :])
