"""A strict all-reduce in one process, and how a collective is recognised in a trace.

All ranks are identical: each holds a copy of the same shard. The sum over ranks is therefore the partial result times
the world size, and one process is enough. Without a reduction the output is off by 1/size; with two, by a factor of size.
"""

import torch
from torch import Tensor

from harness.ops.registry import register_op


def _fake_all_reduce(x: Tensor, world_size: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@register_op("harness::all_reduce", "(Tensor x, int world_size) -> Tensor", fake=_fake_all_reduce)
def all_reduce(x: Tensor, world_size: int) -> Tensor:
    """The sum of ``x`` over ``world_size`` identical ranks: same shape and dtype, contiguous.

    Raises RuntimeError on an input that is not contiguous, as a real all-reduce does that flattens with ``view(-1)``.
    """
    return (x.view(-1) * world_size).view(x.shape)


def is_collective(op: str) -> bool:
    """Whether an op (``namespace::name``) is an all-reduce: torch's, vLLM's, or this module's."""
    namespace, _, name = op.partition("::")
    return namespace not in ("aten", "prim", "prims") and ("all_reduce" in name or "allreduce" in name)
