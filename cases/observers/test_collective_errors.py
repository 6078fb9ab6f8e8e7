"""A collective that raises: its strided input is named where it had one, and its own error otherwise."""

from typing import Never

from torch import Tensor

from fixtures.judged import judged, keys
from fixtures.planting import SMALL_TWO
from harness.ops.collectives import all_reduce
from kernels.layer.layer import PaddedMoELayer


def _fails(x: Tensor, world_size: int) -> Never:
    raise RuntimeError("no link to rank 1")


def test_an_error_on_a_contiguous_tensor_is_no_strided_view() -> None:
    with all_reduce.planted(real=_fails):
        verdict = judged(PaddedMoELayer, SMALL_TWO)
    assert [(kind, stage) for _, kind, stage in keys(verdict)] == [("op-raised", "all-reduce")]
    assert "no link to rank 1" in verdict.findings[0].what
