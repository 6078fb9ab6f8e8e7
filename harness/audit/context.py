"""An op under audit: its samples and their variants, and the cached calls of its real implementation and its fake."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.audit.calling.attempts import Attempt, Attempts
from harness.audit.calling.calls import FakeCall, FakeCalls, RealCall, RealCalls, call, call_fake
from harness.audit.calling.demands import demands
from harness.audit.journal import Journal
from harness.audit.samples import Sample
from harness.audit.variants.choices import UNNAMED
from harness.audit.variants.kinds import MAKERS
from harness.audit.variants.variant import MULTIPLE, OTHER, Variant


@dataclass
class AuditedOp:
    """An op under audit. Calls are cached, since most rows need the same ones. ``lacking`` says why there are no samples.

    ``made_up`` says that the harness looked for arguments that the op takes.
    """

    op: torch._ops.OpOverload
    samples: list[Sample]
    device: torch.device
    variants: Attempts
    reals: RealCalls
    fakes: FakeCalls
    lacking: str = ""
    made_up: bool = False

    @classmethod
    def of(
        cls,
        op: torch._ops.OpOverload,
        samples: list[Sample],
        device: torch.device,
        journal: Path,
        only: str = "",
        kinds: tuple[str, ...] = tuple(MAKERS),
        sizes: tuple[int, ...] = (),
        lacking: str = "",
    ) -> "AuditedOp":
        """An op with the file of its journal. With ``only``, just the variants whose label contains this text."""
        reals = RealCalls(op)
        attempts = Attempts(op, samples, Journal(journal), reals, only, kinds, sizes)
        return cls(op, samples, device, attempts, reals, FakeCalls(op), lacking)

    @property
    def journal(self) -> Journal:
        """What was tried in this and in earlier processes."""
        return self.variants.journal

    @property
    def only(self) -> str:
        """The text that the label of a variant must contain; empty for all variants."""
        return self.variants.only

    def names(self, sample: Sample) -> dict[int, str]:
        """The name of the argument of each leaf: ``x`` or ``xs[1]``."""
        return sample.names(self.op)

    def written(self, sample: Sample) -> frozenset[int]:
        """The places of the leaves that the schema declares as mutable."""
        return sample.written(self.op)

    def attempts(self, kind: str) -> list[Attempt]:
        """Each variant of a kind with the reason why the op refused it, None if it accepted it."""
        return self.variants.of(kind)

    def demands(self) -> list[str]:
        """For each size, the multiple that the op needs, in words."""
        tried = [pair for kind in (OTHER, MULTIPLE) for pair in self.attempts(kind)]
        return demands(tried, bool(self.given))

    @property
    def given(self) -> list[Variant]:
        """The samples that the real implementation accepts."""
        return self.variants.given

    @property
    def accepted(self) -> list[Variant]:
        """Every variant that the real implementation accepts, limited to those that ``only`` chooses."""
        return [one for one in self.variants.accepted if self._is_judged(one)]

    def _is_judged(self, variant: Variant) -> bool:
        """Whether a variant that the real implementation accepts says something: one that nobody promised, the fake may refuse."""
        return variant.kind != UNNAMED or self.fake(variant).error is None

    def judged_fakes(self) -> list[Variant]:
        """The variants to try a fake on: the accepted ones, or the samples where no real implementation runs."""
        return self.accepted or [Variant("as given", "as given", sample) for sample in self.samples]

    @property
    def refused(self) -> list[tuple[Variant, str]]:
        """Every variant that it refuses in each form that was tried, with its error."""
        return [(variant, error) for variant, error in self.variants.refused if variant.kind != UNNAMED]

    def one_of_each(self) -> list[Variant]:
        """Every given sample, and the first accepted variant of each other kind."""
        return [one for one in self.variants.one_of_each() if self._is_judged(one)]

    def call(self, sample: Sample) -> Any:
        """Call the op on these arguments, without copying them. The random seed is the same for every call."""
        return call(self.op, sample)

    def fresh(self, variant: Variant) -> Sample:
        """A copy of the variant's arguments in new memory."""
        return variant.sample.copy()

    def real(self, variant: Variant) -> RealCall:
        """The real implementation's call on a variant, cached. Raises what the op raises."""
        return self.reals.on(variant)

    def fillable(self) -> AbstractContextManager[None]:
        """Leave fresh memory unfilled inside a ``with`` block if the op allocates a dtype that torch cannot fill."""
        return self.reals.fillable()

    def fake(self, variant: Variant) -> FakeCall:
        """The fake's call on a variant, cached."""
        return self.fakes.on(variant)

    def run_fake(self, sample: Sample, mode: FakeTensorMode | None = None) -> FakeCall:
        """Call the fake, not from the cache. Data-dependent sizes become symbols."""
        return call_fake(self.op, sample, mode)
