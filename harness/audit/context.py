"""An op under audit: its samples and their variants, what the real implementation gave for each, and what the fake did."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.audit.journal import Journal
from harness.audit.samples import Sample
from harness.audit.tensors import faithful, tensors
from harness.audit.variants import GIVEN, MAKERS, Variant, candidates
from harness.findings.exception_text import first_line

# SystemExit too: an implementation that exits must not end the audit.
ERRORS = (Exception, SystemExit)


@dataclass(slots=True)
class Ran:
    """One call of the real implementation: what it gave, and the very arguments it was given, before and after."""

    out: Any
    before: Sample
    after: Sample


@dataclass(slots=True)
class Faked:
    """One call of the fake: what it gave, or the error it raised; the fake arguments as it left them."""

    out: Any
    given: Sample
    error: BaseException | None = None


@dataclass
class Audited:
    """An op under audit. Everything that one row has found out is kept for the next."""

    op: torch._ops.OpOverload
    samples: list[Sample]
    device: torch.device
    journal: Journal
    only: str = ""
    kinds: tuple[str, ...] = tuple(MAKERS)
    _tried: dict[str, list[tuple[Variant, str | None]]] = field(default_factory=dict)
    _ran: dict[str, Ran] = field(default_factory=dict)
    _faked: dict[str, Faked] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        op: torch._ops.OpOverload,
        samples: list[Sample],
        device: torch.device,
        journal: Path,
        only: str = "",
        kinds: tuple[str, ...] = tuple(MAKERS),
    ) -> "Audited":
        """An op with its journal's file; ``only`` keeps to the variants whose label has this text."""
        return cls(op, samples, device, Journal(journal), only, kinds)

    def names(self, sample: Sample) -> dict[int, str]:
        """The argument that each leaf belongs to, ``x`` or ``xs[1]``."""
        found: list[str] = []
        for argument, value in sample.arguments(self.op):
            leaves = tree_leaves(value)
            many = isinstance(value, (list, tuple))
            found += [f"{argument.name}[{place}]" if many else argument.name for place in range(len(leaves))]
        return dict(enumerate(found))

    def written(self, sample: Sample) -> frozenset[int]:
        """The leaves that the schema declares to be written."""
        flags: list[bool] = []
        for argument, value in sample.arguments(self.op):
            flags += [bool(argument.alias_info and argument.alias_info.is_write)] * len(tree_leaves(value))
        return frozenset(place for place, flag in enumerate(flags) if flag)

    def tried(self, kind: str) -> list[tuple[Variant, str | None]]:
        """Every variant of a kind with why it was refused (None: accepted); those that killed the process are left out."""
        if kind not in self._tried:
            self._tried[kind] = list(self._try(kind))
        return self._tried[kind]

    def _try(self, kind: str) -> Iterator[tuple[Variant, str | None]]:
        bases = self.samples if kind == GIVEN else [variant.sample for variant in self.given]
        if not bases:
            return
        names, written = [self.names(base) for base in bases], self.written(bases[0])
        done: set[str] = set()
        for place, variant in enumerate(candidates(kind, bases, written, names)):
            key = f"{kind}/{place}"
            if self.journal.crashed(key):
                return  # the next may do the same; a row must not pay for it
            if variant.label in done or (kind != GIVEN and self.only not in variant.label):
                continue
            refused = self._attempt(key, variant)
            if refused is None:
                done.add(variant.label)
            yield variant, refused

    def _attempt(self, key: str, variant: Variant) -> str | None:
        if key not in self.journal.ended:
            self.journal.begin(key, variant.label)
            try:
                self.real(variant)
            except ERRORS as error:
                self.journal.end(key, f"{type(error).__name__}: {first_line(error)}")
            else:
                self.journal.end(key, None)
        return self.journal.ended[key]

    @property
    def given(self) -> list[Variant]:
        """The samples that the real implementation accepts."""
        return [variant for variant, refused in self.tried(GIVEN) if refused is None]

    @property
    def accepted(self) -> list[Variant]:
        """Every variant that the real implementation accepts; just the chosen one where one was chosen."""
        found = [variant for kind in self.kinds for variant, refused in self.tried(kind) if refused is None]
        return [variant for variant in found if self.only in variant.label]

    @property
    def refused(self) -> list[tuple[Variant, str]]:
        """Every variant that it refuses in each form that was tried, with its words."""
        taken = {variant.label for variant in self.accepted}
        every = [(variant, words) for kind in self.kinds for variant, words in self.tried(kind) if words is not None]
        return [(variant, words) for variant, words in every if variant.label not in taken]

    def one_of_each(self) -> list[Variant]:
        """Every sample as given, and the first accepted variant of each other kind."""
        found = [variant for variant in self.accepted if variant.kind != GIVEN]
        given = [variant for variant in self.given if self.only in variant.label]
        return given + list({variant.kind: variant for variant in reversed(found)}.values())[::-1]

    def call(self, sample: Sample) -> Any:
        """Call the op on these very arguments, random numbers drawn from the same seed each time."""
        torch.manual_seed(0)
        return self.op(*sample.args, **sample.kwargs)

    def fresh(self, variant: Variant) -> Sample:
        """The variant's arguments in memory of their own."""
        sample: Sample = variant.sample.with_leaves(faithful(variant.sample.leaves))
        return sample

    def real(self, variant: Variant) -> Ran:
        """What the real implementation gives for a variant. Raises what it raises."""
        if variant.label not in self._ran:
            after = self.fresh(variant)
            out = self.call(after)
            self._ran[variant.label] = Ran(out, self.fresh(variant), after)
        return self._ran[variant.label]

    def fake(self, variant: Variant) -> Faked:
        """What the fake gives for a variant."""
        if variant.label not in self._faked:
            self._faked[variant.label] = self.run_fake(variant.sample)
        return self._faked[variant.label]

    def run_fake(self, sample: Sample, mode: FakeTensorMode | None = None) -> Faked:
        """Call the fake anew; data-dependent sizes become symbols."""
        mode = mode or FakeTensorMode(shape_env=ShapeEnv())
        with torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
            leaves = tree_map_only(Tensor, lambda x: mode.from_tensor(x, static_shapes=True), sample.leaves)
            given = sample.with_leaves(leaves)
            try:
                return Faked(self.op(*given.args, **given.kwargs), given)
            except ERRORS as error:  # a fake may raise anything; that is what is looked for
                return Faked(None, given, error)


def outputs(out: Any) -> list[Any]:
    """The leaves of a result; none for an op that returns nothing."""
    return [] if out is None else tree_leaves(out)


def any_tensor(out: Any) -> bool:
    """Whether there is a tensor in a result."""
    return bool(tensors(out))
