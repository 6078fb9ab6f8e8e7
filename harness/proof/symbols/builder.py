"""Builder: a subject's layer at any hidden and latent size, with everything else as small as possible."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from harness.base.errors import BadInput, Skip
from harness.matrix.case import Case
from harness.matrix.shapes import NVFP4_BLOCK
from harness.proof.symbols.formula import Sizes
from harness.subjects.checked import CheckedSubject
from harness.subjects.subject import Subject, plain_names

AXES = ("hidden", "latent")
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# A layer is built just above each of these sizes, to see whether it takes multiples of a step.
_ABOUT = (192, 320, 704)
_CPU = torch.device("cpu")


class NotProvable(Exception):
    """The reason why nothing can be proven. ``sizes`` is where a real run ended differently from its trace, if one did."""

    def __init__(self, reason: str, sizes: Sizes | None = None) -> None:
        super().__init__(reason)
        self.sizes = sizes


class NotBuilt(NotProvable):
    """The layer cannot be built at some sizes. ``failed`` says which of the sizes that were tried; ``error`` is one reason."""

    def __init__(self, failed: dict[int, bool], error: Exception) -> None:
        self.failed, self.error = failed, error
        bad = [size for size, fails in failed.items() if fails]
        super().__init__(f"{self.text}: {type(error).__name__}: {error}", (bad[0],))

    @property
    def text(self) -> str:
        """The failing sizes among those tried, as a rule of their remainders where there is one."""
        tried, bad = sorted(self.failed), [size for size, fails in self.failed.items() if fails]
        shown = f"{len(bad)} of the {len(tried)} sizes from {tried[0]} to {tried[-1]} in steps of {tried[1] - tried[0]}"
        multiple = next((m for m in _STEPS if all((size % m != 0) == fails for size, fails in self.failed.items())), 0)
        rule = (
            f"each that is no multiple of {multiple}" if multiple else _listed(bad) if len(bad) < len(tried) else "each"
        )
        return f"the layer cannot be built at {shown}: {rule}"


def _listed(sizes: list[int], most: int = 6) -> str:
    return ", ".join(map(str, sizes[:most])) + (", ..." if len(sizes) > most else "")


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the layer of a case at any sizes, and makes its inputs. The experts are few and small, if not ``whole``."""

    subject: Subject
    case: Case
    whole: bool = False
    _checked: CheckedSubject = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_checked", CheckedSubject(self.subject))  # once: it reads four signatures

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
        if self.whole:
            return replace(case, shape=shape, hidden=hidden)
        shared = None if case.shared is None else 32
        small = replace(case, intermediate=16, shared=shared, experts=2, top_k=1, full=False)
        return replace(small, shape=shape, hidden=hidden)

    def build(self, sizes: Sequence[int]) -> list[Any]:
        """[layer, [inputs]] at these sizes. Raises what ``build`` raises, and SubjectError where ``inputs`` fails."""
        case = self.at(sizes)
        return [self.subject.build(case, _CPU), list(self._checked.inputs(case, case.tokens, 0, _CPU))]


def steps_of(builder: Builder) -> tuple[int, ...]:
    """The smallest step at which layers can be built, one for each axis.

    A subject narrows its sizes by raising Skip. No case has a width that is no multiple of NVFP4's block of 16, so up to
    that step any exception narrows them too. Raises NotBuilt where the layer fails at other sizes, and NotProvable where
    no step works.
    """
    reason: Exception | None = None
    for step in _STEPS:
        tried = [(about // step + 1) * step for about in _ABOUT]
        failure = next((error for size in tried if (error := _failure(builder, size)) is not None), None)
        if failure is None:
            return (step,) * builder.axes
        if step >= NVFP4_BLOCK and not isinstance(failure, Skip | BadInput):
            raise NotBuilt(_failing(builder, step), failure)
        reason = failure
    raise NotProvable(f"the subject builds no layer at other sizes: {type(reason).__name__}: {reason}")


def _failure(builder: Builder, size: int) -> Exception | None:
    """What building a layer raises where every axis has this size. SystemExit ends the proof, as it would end a run."""
    try:
        builder.build([size] * builder.axes)
    except Exception as error:
        return error
    return None


def _failing(builder: Builder, step: int) -> dict[int, bool]:
    """Whether layers fail to build, by size: two sizes of each remainder of the alignment rule, in multiples of ``step``."""
    period = max(builder.case.alignment.hidden, 4 * step)
    sizes = range(step * (period // step), 3 * period, step)
    failures = {size: _failure(builder, size) for size in sizes}
    return {size: error is not None and not isinstance(error, Skip) for size, error in failures.items()}
