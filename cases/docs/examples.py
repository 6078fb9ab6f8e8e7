"""Layers with one fault each, for the kinds of findings in docs/reference/findings.md that the corpus has no fault for."""

from typing import Any

from torch import Tensor

from fixtures.planting import REAL, Planted
from harness.ops.collectives import all_reduce
from harness.ops.registry import register_op
from kernels.layer.experts import SCHEMA
from kernels.layer.layer import PaddedMoELayer


class _Pair(PaddedMoELayer):
    def dense(self, x: Tensor) -> Any:
        return super().dense(x), None


class _Unused(PaddedMoELayer):
    """Runs the op, and computes its result without it."""

    def run_experts(self, x: Tensor, topk_ids: Tensor, topk_weights: Tensor) -> Tensor:
        super().run_experts(x, topk_ids, topk_weights)
        weights = self.op_weights()
        return REAL(x, topk_ids, topk_weights, *weights, self.activation, self.out_width, self.swizzled_scales)


class _ReducesSharedAlone(PaddedMoELayer):
    def add_shared(self, routed: Tensor, shared: Tensor | None) -> Tensor:
        assert shared is not None
        return routed * self.tp + all_reduce(shared, self.tp)

    def reduce(self, x: Tensor) -> Tensor:
        return x


def _fake_that_writes(*args: Any) -> Tensor:
    args[0].zero_()
    made: Tensor = args[0].new_empty(args[0].shape[0], args[10])
    return made


def _fake_without_last(
    a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any, j: str, k: int
) -> Tensor:
    made: Tensor = a.new_empty(a.shape[0], k)
    return made


_writes = register_op("docs::fake_writes", SCHEMA, fake=_fake_that_writes)(lambda *args: REAL(*args))
_lacks = register_op("docs::fake_lacks_argument", SCHEMA, fake=_fake_without_last)(
    lambda a, b, c, d, e, f, g, h, i, j, k, swizzled=False: REAL(a, b, c, d, e, f, g, h, i, j, k, swizzled)
)


class _CallsWrites(PaddedMoELayer):
    op = staticmethod(_writes.overload)


class _CallsLacks(PaddedMoELayer):
    op = staticmethod(_lacks.overload)


NotATensor = Planted(layer=_Pair)
Unused = Planted(layer=_Unused)
ReducesSharedAlone = Planted(layer=_ReducesSharedAlone)
FakeWrites = Planted(layer=_CallsWrites, op="docs::fake_writes")
FakeLacksArgument = Planted(layer=_CallsLacks, op="docs::fake_lacks_argument")
