"""Calls of an op's real implementation and of its fake, each run once for one variant."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves, tree_map_only

from harness.audit.samples import Sample
from harness.audit.tensors import exact_copy, tensors
from harness.audit.variants.variant import Variant

# With SystemExit, since an implementation that exits must not end the audit.
ERRORS = (Exception, SystemExit)
_deterministic: Any = torch.utils.deterministic
_UNFILLABLE = "fill_empty_deterministic_"  # in torch's error: torch has no fill for the dtype, such as float4


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
class RealCalls:
    """The calls of an op's real implementation, cached by the label of the variant."""

    op: torch._ops.OpOverload
    fills: bool = True  # whether torch can fill fresh memory of every dtype that the op allocates
    _done: dict[str, RealCall] = field(default_factory=dict)

    def on(self, variant: Variant) -> RealCall:
        """The call on a variant. Raises what the op raises."""
        if variant.label not in self._done:
            self._done[variant.label] = self._run(variant.sample)
        return self._done[variant.label]

    def forget(self, variant: Variant) -> None:
        """Forget the call on a variant: another one of its label takes its place."""
        self._done.pop(variant.label, None)

    def _run(self, sample: Sample) -> RealCall:
        try:
            return _real_call(self.op, sample)
        except NotImplementedError as error:
            if _UNFILLABLE not in str(error) or not self.fills:
                raise
        self.fills = _deterministic.fill_uninitialized_memory = False
        return _real_call(self.op, sample)

    @contextmanager
    def fillable(self) -> Iterator[None]:
        """Leave fresh memory unfilled inside a ``with`` block if the op allocates a dtype that torch cannot fill."""
        before = _deterministic.fill_uninitialized_memory
        _deterministic.fill_uninitialized_memory = before and self.fills
        try:
            yield
        finally:
            _deterministic.fill_uninitialized_memory = before


@dataclass
class FakeCalls:
    """The calls of an op's fake, cached by the label of the variant."""

    op: torch._ops.OpOverload
    _done: dict[str, FakeCall] = field(default_factory=dict)

    def on(self, variant: Variant) -> FakeCall:
        """The call on a variant."""
        if variant.label not in self._done:
            self._done[variant.label] = call_fake(self.op, variant.sample)
        return self._done[variant.label]


def _real_call(op: torch._ops.OpOverload, sample: Sample) -> RealCall:
    after = sample.copy()
    out = call(op, after)
    exact_copy(out)  # the checks copy outputs too, and torch cannot make fresh memory of every dtype
    return RealCall(out, sample.copy(), after)


def call(op: torch._ops.OpOverload, sample: Sample) -> Any:
    """Call an op on these arguments, without copying them. The random seed is the same for every call."""
    torch.manual_seed(0)
    with _aliases_returned():
        return op(*sample.args, **sample.kwargs)


@contextmanager
def own_memory_fits(op: torch._ops.OpOverload) -> Iterator[None]:
    """Inside a ``with`` block, an output that torch resizes is an error, unless the op may write an argument.

    A body makes that output itself, from sizes that do not belong together: it takes what it should refuse.
    """
    with warnings.catch_warnings():
        if not any(one.alias_info and one.alias_info.is_write for one in op._schema.arguments):
            warnings.filterwarnings("error", message="An output with one or more elements was resized")
        yield


def call_fake(op: torch._ops.OpOverload, sample: Sample, mode: FakeTensorMode | None = None) -> FakeCall:
    """Call the fake, not from the cache. Data-dependent sizes become symbols."""
    mode = mode or FakeTensorMode(shape_env=ShapeEnv())
    # With its cache on, FakeTensor would answer a repeated call without running the fake.
    with enable_python_dispatcher(), torch._dynamo.config.patch(fake_tensor_cache_enabled=False), mode:
        leaves = tree_map_only(Tensor, lambda x: mode.from_tensor(x, static_shapes=True), sample.leaves)
        given = sample.with_leaves(leaves)
        try:
            return FakeCall(op(*given.args, **given.kwargs), given)
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
