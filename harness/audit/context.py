"""An op under audit: its samples and their variants, and the cached calls of its real implementation and its fake."""

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
from harness.audit.tensors import exact_copy, tensors
from harness.audit.variants import GIVEN, MAKERS, Variant, candidates
from harness.base.exception_text import first_line

# With SystemExit, since an implementation that exits must not end the audit.
ERRORS = (Exception, SystemExit)


@dataclass(slots=True)
class RealCall:
    """One call of the real implementation: its outputs, and its arguments before and after the call."""

    out: Any
    before: Sample
    after: Sample


@dataclass(slots=True)
class FakeCall:
    """One call of the fake: its outputs or its error, and the fake arguments after the call."""

    out: Any
    given: Sample
    error: BaseException | None = None


@dataclass
class AuditedOp:
    """An op under audit. Calls are cached, since most rows need the same ones."""

    op: torch._ops.OpOverload
    samples: list[Sample]
    device: torch.device
    journal: Journal
    only: str = ""
    kinds: tuple[str, ...] = tuple(MAKERS)
    _attempts: dict[str, list[tuple[Variant, str | None]]] = field(default_factory=dict)
    _real_calls: dict[str, RealCall] = field(default_factory=dict)
    _fake_calls: dict[str, FakeCall] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        op: torch._ops.OpOverload,
        samples: list[Sample],
        device: torch.device,
        journal: Path,
        only: str = "",
        kinds: tuple[str, ...] = tuple(MAKERS),
    ) -> "AuditedOp":
        """An op with the file of its journal. With ``only``, just the variants whose label contains this text."""
        return cls(op, samples, device, Journal(journal), only, kinds)

    def names(self, sample: Sample) -> dict[int, str]:
        """The name of the argument of each leaf: ``x`` or ``xs[1]``."""
        labels: list[str] = []
        for argument, value in sample.arguments(self.op):
            leaves = tree_leaves(value)
            many = isinstance(value, (list, tuple))
            labels += [f"{argument.name}[{place}]" if many else argument.name for place in range(len(leaves))]
        return dict(enumerate(labels))

    def written(self, sample: Sample) -> frozenset[int]:
        """The places of the leaves that the schema declares as mutable."""
        flags: list[bool] = []
        for argument, value in sample.arguments(self.op):
            flags += [bool(argument.alias_info and argument.alias_info.is_write)] * len(tree_leaves(value))
        return frozenset(place for place, flag in enumerate(flags) if flag)

    def attempts(self, kind: str) -> list[tuple[Variant, str | None]]:
        """Each variant of a kind with the reason why the op refused it, None if it accepted it.

        Variants that killed an earlier process are left out.
        """
        if kind not in self._attempts:
            self._attempts[kind] = list(self._try(kind))
        return self._attempts[kind]

    def _try(self, kind: str) -> Iterator[tuple[Variant, str | None]]:
        bases = self.samples if kind == GIVEN else [variant.sample for variant in self.given]
        if not bases:
            return
        names, written = [self.names(base) for base in bases], self.written(bases[0])
        accepted: set[str] = set()
        for place, variant in enumerate(candidates(kind, bases, written, names)):
            key = f"{kind}/{place}"
            if self.journal.crashed(key):
                return  # the next variant of this kind may crash too, and would cost the rows another worker
            if variant.label in accepted or (kind != GIVEN and self.only not in variant.label):
                continue
            refused = self._attempt(key, variant)
            if refused is None:
                accepted.add(variant.label)
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
        return [variant for variant, refused in self.attempts(GIVEN) if refused is None]

    @property
    def accepted(self) -> list[Variant]:
        """Every variant that the real implementation accepts, limited to those that ``only`` chooses."""
        variants = [variant for kind in self.kinds for variant, refused in self.attempts(kind) if refused is None]
        return [variant for variant in variants if self.only in variant.label]

    @property
    def refused(self) -> list[tuple[Variant, str]]:
        """Every variant that it refuses in each form that was tried, with its error."""
        accepted = {variant.label for variant in self.accepted}
        every = [(variant, error) for kind in self.kinds for variant, error in self.attempts(kind) if error is not None]
        return [(variant, error) for variant, error in every if variant.label not in accepted]

    def one_of_each(self) -> list[Variant]:
        """Every given sample, and the first accepted variant of each other kind."""
        others = [variant for variant in self.accepted if variant.kind != GIVEN]
        given = [variant for variant in self.given if self.only in variant.label]
        return given + list({variant.kind: variant for variant in reversed(others)}.values())[::-1]

    def call(self, sample: Sample) -> Any:
        """Call the op on these arguments, without copying them. The random seed is the same for every call."""
        torch.manual_seed(0)
        return self.op(*sample.args, **sample.kwargs)

    def fresh(self, variant: Variant) -> Sample:
        """A copy of the variant's arguments in new memory."""
        sample: Sample = variant.sample.with_leaves(exact_copy(variant.sample.leaves))
        return sample

    def real(self, variant: Variant) -> RealCall:
        """The real implementation's call on a variant, cached. Raises what the op raises."""
        if variant.label not in self._real_calls:
            after = self.fresh(variant)
            out = self.call(after)
            self._real_calls[variant.label] = RealCall(out, self.fresh(variant), after)
        return self._real_calls[variant.label]

    def fake(self, variant: Variant) -> FakeCall:
        """The fake's call on a variant, cached."""
        if variant.label not in self._fake_calls:
            self._fake_calls[variant.label] = self.run_fake(variant.sample)
        return self._fake_calls[variant.label]

    def run_fake(self, sample: Sample, mode: FakeTensorMode | None = None) -> FakeCall:
        """Call the fake, not from the cache. Data-dependent sizes become symbols."""
        mode = mode or FakeTensorMode(shape_env=ShapeEnv())
        # With its cache on, FakeTensor would answer a repeated call without running the fake.
        with torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
            leaves = tree_map_only(Tensor, lambda x: mode.from_tensor(x, static_shapes=True), sample.leaves)
            given = sample.with_leaves(leaves)
            try:
                return FakeCall(self.op(*given.args, **given.kwargs), given)
            except ERRORS as error:  # a fake may raise anything, and that is a result
                return FakeCall(None, given, error)


def outputs(out: Any) -> list[Any]:
    """The leaves of a result; empty for an op that returns nothing."""
    return [] if out is None else tree_leaves(out)


def any_tensor(out: Any) -> bool:
    """Whether there is a tensor in a result."""
    return bool(tensors(out))
