"""Which variants of its samples an op accepts, and which it refuses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from harness.audit.calling.calls import ERRORS, RealCalls, call, own_memory_fits
from harness.audit.calling.demands import sizes_to_try
from harness.audit.hints import Hints, hints_of
from harness.audit.journal import Journal
from harness.audit.samples import Sample
from harness.audit.tensors import tensors
from harness.audit.variants.kinds import MAKERS, candidates
from harness.audit.variants.overrun import past_the_end
from harness.audit.variants.variant import GIVEN, GUARD, MULTIPLE, OTHER, Base, Variant
from harness.base.exception_text import refusal_text

PAST = "the op reads past the end of an argument here; it depends on another's size or dtype, and the op does not check"
WIDENED = "the harness made the argument up, and its shape widens an output"
Attempt = tuple[Variant, str | None]


class SizesDepend(Exception):
    """A variant changes one of two sizes that depend on each other."""


@dataclass
class Attempts:
    """The variants of an op's samples, each tried once on its real implementation.

    With ``only``, just the variants whose label contains this text. ``sizes`` are tried beside those that the source names.
    """

    op: torch._ops.OpOverload
    samples: list[Sample]
    journal: Journal
    calls: RealCalls
    only: str = ""
    kinds: tuple[str, ...] = tuple(MAKERS)
    sizes: tuple[int, ...] = ()
    _done: dict[str, list[Attempt]] = field(default_factory=dict)

    def of(self, kind: str) -> list[Attempt]:
        """Each variant of a kind with the reason why the op refused it, None if it accepted it.

        Variants that killed an earlier process are left out.
        """
        if kind not in self._done:
            self._done[kind] = list(self._try(kind))
        return self._done[kind]

    def _try(self, kind: str) -> Iterator[Attempt]:
        wanted = sizes_to_try(self.samples, self.given, self.of(OTHER)) if kind == MULTIPLE else set()
        accepted: set[str] = set()
        for key, variant in self._candidates(kind):
            if self.journal.crashed(key):
                return  # the next variant of this kind may crash too, and would cost the rows another worker
            if variant.label in accepted or not self._chosen(kind, variant, wanted):
                continue
            refused = self._attempt(key, variant)
            if refused is None:
                accepted.add(variant.label)
            yield variant, refused

    def _candidates(self, kind: str) -> Iterator[tuple[str, Variant]]:
        """(its key in the journal, variant) for each variant of a kind."""
        bases = [self._base(number, sample) for number, sample in enumerate(self._bases(kind))]
        return ((f"{kind}/{place}", variant) for place, variant in enumerate(candidates(kind, bases)))

    def _bases(self, kind: str) -> list[Sample]:
        if kind == GIVEN:
            return self.samples
        bases = [variant.sample for variant in self.given]
        if kind in (GUARD, MULTIPLE) and not bases and self.of(GIVEN):  # refused, and no crash
            return self.samples  # what the op refuses in its own memory or at this size, it may accept in these
        return bases

    def _base(self, number: int, sample: Sample) -> Base:
        return Base(number, sample, sample.written(self.op), sample.names(self.op), self.op, self.hints)

    def _chosen(self, kind: str, variant: Variant, sizes: set[int]) -> bool:
        if kind == MULTIPLE and variant.resize and variant.resize.old not in sizes:
            return False
        return kind == GIVEN or self.only in variant.label

    @cached_property
    def hints(self) -> Hints:
        """What the op's source names."""
        return hints_of(self.op, self.sizes)

    def _attempt(self, key: str, variant: Variant) -> str | None:
        if key not in self.journal.ended:
            self.journal.begin(key, variant.label)
            self.journal.end(key, self._refusal(variant))
        return self.journal.ended[key]

    def _refusal(self, variant: Variant) -> str | None:
        """Why the op refuses a variant; None if it accepts it."""
        try:
            with own_memory_fits(self.op):
                if past_the_end(variant, lambda sample: call(self.op, sample)):
                    raise SizesDepend(PAST)
                done = self.calls.on(variant)
                if variant.plainer and self._is_widened(done.out, variant.plainer):
                    self.calls.forget(variant)
                    return WIDENED
        except ERRORS as error:
            return refusal_text(error)
        return None

    def _is_widened(self, out: Any, plainer: Sample) -> bool:
        """Whether one number in place of a made-up tensor gives outputs of other shapes."""
        try:
            return _shapes(call(self.op, plainer.copy())) != _shapes(out)
        except ERRORS:  # it takes no single number, so that the tensor's shape means something
            return False

    @property
    def given(self) -> list[Variant]:
        """The samples that the real implementation accepts."""
        return [variant for variant, refused in self.of(GIVEN) if refused is None]

    @property
    def accepted(self) -> list[Variant]:
        """Every variant that the real implementation accepts, limited to those that ``only`` chooses."""
        # Sizes that are tried only to see what the op demands are judged where it accepts nothing else.
        kinds = [kind for kind in self.kinds if kind != MULTIPLE or not self.given]
        variants = [variant for kind in kinds for variant, refused in self.of(kind) if refused is None]
        return [variant for variant in variants if self.only in variant.label]

    @property
    def refused(self) -> list[tuple[Variant, str]]:
        """Every variant that it refuses in each form that was tried, with its error."""
        accepted = {variant.label for variant in self.accepted}
        # Guard rows repeat what other sizes refuse, and multiples are refused on purpose.
        tried = [pair for kind in self.kinds if kind not in (GUARD, MULTIPLE) for pair in self.of(kind)]
        every = [(variant, error) for variant, error in tried if error is not None]
        return [(variant, error) for variant, error in every if variant.label not in accepted]

    def one_of_each(self) -> list[Variant]:
        """Every given sample, and the first accepted variant of each other kind."""
        others = [variant for variant in self.accepted if variant.kind != GIVEN]
        given = [variant for variant in self.given if self.only in variant.label]
        return given + list({variant.kind: variant for variant in reversed(others)}.values())[::-1]


def _shapes(out: Any) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors(out)]
