"""An op under audit: its samples and their variants, and the cached calls of its real implementation and its fake."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.audit.hints import Hints, hints_of
from harness.audit.journal import Journal
from harness.audit.samples import Sample
from harness.audit.tensors import exact_copy, tensors
from harness.audit.variants.kinds import MAKERS, candidates
from harness.audit.variants.overrun import past_the_end
from harness.audit.variants.resizes import demand
from harness.audit.variants.variant import GIVEN, GUARD, MULTIPLE, OTHER, Base, Variant
from harness.base.exception_text import first_line

# With SystemExit, since an implementation that exits must not end the audit.
ERRORS = (Exception, SystemExit)
_deterministic: Any = torch.utils.deterministic
_UNFILLABLE = "fill_empty_deterministic_"  # in torch's error: torch has no fill for the dtype, such as float4


PAST = "the op reads past the end of an argument here; it depends on another's size or dtype, and the op does not check"


class SizesDepend(Exception):
    """A variant changes one of two sizes that depend on each other."""


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
    sizes: tuple[int, ...] = ()
    fills: bool = True  # whether torch can fill fresh memory of every dtype that the op allocates
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
        sizes: tuple[int, ...] = (),
    ) -> "AuditedOp":
        """An op with the file of its journal. With ``only``, just the variants whose label contains this text."""
        return cls(op, samples, device, Journal(journal), only, kinds, sizes)

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
        if kind in (GUARD, MULTIPLE) and not bases and self.attempts(GIVEN):  # refused, and no crash
            bases = self.samples  # what the op refuses in its own memory or at this size, it may accept in these
        wanted = self._refused_sizes() if kind == MULTIPLE else set()
        accepted: set[str] = set()
        for place, variant in enumerate(candidates(kind, [self._base(*pair) for pair in enumerate(bases)])):
            key = f"{kind}/{place}"
            if self.journal.crashed(key):
                return  # the next variant of this kind may crash too, and would cost the rows another worker
            if kind == MULTIPLE and variant.resize and variant.resize.old not in wanted:
                continue
            if variant.label in accepted or (kind != GIVEN and self.only not in variant.label):
                continue
            refused = self._attempt(key, variant)
            if refused is None:
                accepted.add(variant.label)
            yield variant, refused

    def _base(self, number: int, sample: Sample) -> Base:
        return Base(number, sample, self.written(sample), self.names(sample), self.op, self.hints)

    @cached_property
    def hints(self) -> Hints:
        """What the op's source names."""
        return hints_of(self.op, self.sizes)

    def _refused_sizes(self) -> set[int]:
        """The sizes of which the op may demand a multiple: all if it refuses the samples, else those that it does not let vary."""
        if not self.given:
            return {size for leaf in tensors([sample.leaves for sample in self.samples]) for size in leaf.shape}
        accepted = {variant.label for variant, refused in self.attempts(OTHER) if refused is None}
        return {one.resize.old for one, _ in self.attempts(OTHER) if one.resize and one.label not in accepted}

    def demands(self) -> list[str]:
        """For each size, the multiple that the op needs, in words."""
        found: dict[str, dict[int, bool]] = {}
        olds: dict[str, int] = {}
        for variant, refused in [pair for kind in (OTHER, MULTIPLE) for pair in self.attempts(kind)]:
            where = variant.label.partition(": ")[2].partition(", sample")[0]
            if variant.resize is not None and not variant.base:
                where = where.rpartition(f" {variant.resize.old} to ")[0]
                olds[where], taken = variant.resize.old, found.setdefault(where, {})
                taken[variant.resize.new] = taken.get(variant.resize.new, False) or refused is None
                taken[variant.resize.old] = bool(self.given)
        demands = {
            where: demand({n for n in taken if taken[n]}, {n for n in taken if not taken[n]}, olds[where])
            for where, taken in found.items()
        }
        return [f"{where}: {text}" for where, text in demands.items() if text]

    def _attempt(self, key: str, variant: Variant) -> str | None:
        if key not in self.journal.ended:
            self.journal.begin(key, variant.label)
            try:
                if past_the_end(variant, self.call):
                    raise SizesDepend(PAST)
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
        # Sizes that are tried only to see what the op demands are judged where it accepts nothing else.
        kinds = [kind for kind in self.kinds if kind != MULTIPLE or not self.given]
        variants = [variant for kind in kinds for variant, refused in self.attempts(kind) if refused is None]
        return [variant for variant in variants if self.only in variant.label]

    @property
    def refused(self) -> list[tuple[Variant, str]]:
        """Every variant that it refuses in each form that was tried, with its error."""
        accepted = {variant.label for variant in self.accepted}
        # Guard rows repeat what other sizes refuse, and multiples are refused on purpose.
        tried = [pair for kind in self.kinds if kind not in (GUARD, MULTIPLE) for pair in self.attempts(kind)]
        every = [(variant, error) for variant, error in tried if error is not None]
        return [(variant, error) for variant, error in every if variant.label not in accepted]

    def one_of_each(self) -> list[Variant]:
        """Every given sample, and the first accepted variant of each other kind."""
        others = [variant for variant in self.accepted if variant.kind != GIVEN]
        given = [variant for variant in self.given if self.only in variant.label]
        return given + list({variant.kind: variant for variant in reversed(others)}.values())[::-1]

    def call(self, sample: Sample) -> Any:
        """Call the op on these arguments, without copying them. The random seed is the same for every call."""
        torch.manual_seed(0)
        with _aliases_returned():
            return self.op(*sample.args, **sample.kwargs)

    def fresh(self, variant: Variant) -> Sample:
        """A copy of the variant's arguments in new memory."""
        sample: Sample = variant.sample.with_leaves(exact_copy(variant.sample.leaves))
        return sample

    def real(self, variant: Variant) -> RealCall:
        """The real implementation's call on a variant, cached. Raises what the op raises."""
        if variant.label not in self._real_calls:
            try:
                self._real_calls[variant.label] = self._call(variant)
            except NotImplementedError as error:
                if _UNFILLABLE not in str(error) or not self.fills:
                    raise
                self.fills = _deterministic.fill_uninitialized_memory = False
                self._real_calls[variant.label] = self._call(variant)
        return self._real_calls[variant.label]

    def _call(self, variant: Variant) -> RealCall:
        after = self.fresh(variant)
        out = self.call(after)
        exact_copy(out)  # the checks copy outputs too, and torch cannot make fresh memory of every dtype
        return RealCall(out, self.fresh(variant), after)

    @contextmanager
    def fillable(self) -> Iterator[None]:
        """Leave fresh memory unfilled inside a ``with`` block if the op allocates a dtype that torch cannot fill."""
        before = _deterministic.fill_uninitialized_memory
        _deterministic.fill_uninitialized_memory = before and self.fills
        try:
            yield
        finally:
            _deterministic.fill_uninitialized_memory = before

    def fake(self, variant: Variant) -> FakeCall:
        """The fake's call on a variant, cached."""
        if variant.label not in self._fake_calls:
            self._fake_calls[variant.label] = self.run_fake(variant.sample)
        return self._fake_calls[variant.label]

    def run_fake(self, sample: Sample, mode: FakeTensorMode | None = None) -> FakeCall:
        """Call the fake, not from the cache. Data-dependent sizes become symbols."""
        mode = mode or FakeTensorMode(shape_env=ShapeEnv())
        # With its cache on, FakeTensor would answer a repeated call without running the fake.
        with enable_python_dispatcher(), torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
            leaves = tree_map_only(Tensor, lambda x: mode.from_tensor(x, static_shapes=True), sample.leaves)
            given = sample.with_leaves(leaves)
            try:
                return FakeCall(self.op(*given.args, **given.kwargs), given)
            except ERRORS as error:  # a fake may raise anything, and that is a result
                return FakeCall(None, given, error)


def _accept(*_: Any, **__: Any) -> None:
    """Stands for a test that accepts everything."""


def _aliases_returned() -> Any:
    """Let an op of ``custom_op`` return an alias, where torch would raise: the row `alias` judges it, and others go on."""
    utils: Any = torch._library.utils
    name = "_c_check_aliasing_constraint"
    return mock.patch.object(utils, name, _accept) if hasattr(utils, name) else nullcontext()


def outputs(out: Any) -> list[Any]:
    """The leaves of a result; empty for an op that returns nothing."""
    return [] if out is None else tree_leaves(out)


def any_tensor(out: Any) -> bool:
    """Whether there is a tensor in a result."""
    return bool(tensors(out))
