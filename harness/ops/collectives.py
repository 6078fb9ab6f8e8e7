"""A strict all-reduce in one process, and how a collective is recognised in a trace.

Every rank is the same: each holds a copy of one shard, so the sum over ranks is the partial result times the world
size. A missing reduce is then off by 1/size and a second one by a factor of size, with one process and no threads.
"""

import torch
from torch import Tensor

from harness.ops.registry import register_op


def _fake_all_reduce(x: Tensor, world_size: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@register_op("harness::all_reduce", "(Tensor x, int world_size) -> Tensor", fake=_fake_all_reduce)
def all_reduce(x: Tensor, world_size: int) -> Tensor:
    """The sum of ``x`` over ``world_size`` identical ranks, same shape and dtype, contiguous.

    Raises RuntimeError on an input that is not contiguous, as the flattening ``view(-1)`` of a real all-reduce does.
    """
    return (x.view(-1) * world_size).view(x.shape)


def is_collective(op: str) -> bool:
    """Whether an op name (``namespace::name``) is an all-reduce, of torch's, of vLLM's or of this module."""
    namespace, _, name = op.partition("::")
    return namespace not in ("aten", "prim", "prims") and ("all_reduce" in name or "allreduce" in name)
