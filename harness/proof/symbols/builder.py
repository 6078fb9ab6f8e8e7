"""Builder: a subject's layer at any hidden and latent size, with everything else as small as possible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from harness.matrix.case import Case
from harness.proof.symbols.formula import Sizes
from harness.subjects.subject import Subject, plain_names

AXES = ("hidden", "latent")
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CPU = torch.device("cpu")


class NotProvable(Exception):
    """The reason why nothing can be proven. ``sizes`` is where a real run ended differently from its trace, if one did."""

    def __init__(self, reason: str, sizes: Sizes | None = None) -> None:
        super().__init__(reason)
        self.sizes = sizes


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the layer of a case at any sizes, with few and small experts, and makes its inputs."""

    subject: Subject
    case: Case

    @property
    def ops(self) -> Sequence[str]:
        """The ops that a forward must dispatch."""
        return plain_names(self.subject.ops(self.case))

    @property
    def axes(self) -> int:
        """The number of sizes that vary: 1, or 2 where the case has a latent width."""
        return 1 if self.case.latent is None else 2

    def at(self, sizes: Sequence[int]) -> Case:
        """The case at these sizes."""
        case, hidden, latent = self.case, sizes[0], sizes[1] if len(sizes) > 1 else None
        shape = replace(case.shape, hidden=hidden, latent=latent)
        shared = None if case.shared is None else 32
        small = replace(case, intermediate=16, shared=shared, experts=2, top_k=1, full=False)
        return replace(small, shape=shape, hidden=hidden)

    def build(self, sizes: Sequence[int]) -> list[Any]:
        """[layer, [inputs]] at these sizes. Raises what the subject raises."""
        case = self.at(sizes)
        return [self.subject.build(case, _CPU), list(self.subject.inputs(case, case.tokens, 0, _CPU))]


def steps_of(builder: Builder) -> tuple[int, ...]:
    """The smallest step at which layers can be built, one for each axis. Some subjects take only multiples of 16.

    Raises NotProvable where no step works.
    """
    error: Exception | None = None
    for step in _STEPS:
        try:
            for about in (192, 320, 704):
                builder.build([(about // step + 1) * step] * builder.axes)
        except Exception as failure:  # the subject may refuse a size with any exception
            error = failure
        else:
            return (step,) * builder.axes
    raise NotProvable(f"the subject builds no layer at other sizes: {type(error).__name__}: {error}")
