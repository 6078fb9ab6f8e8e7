"""A strict all-reduce in one process, and how a collective is recognised in a trace.

All ranks are identical: each holds a copy of the same shard. The sum over ranks is therefore the partial result times
the world size, and one process is enough. Without a reduction the output is off by 1/size; with two, by a factor of size.
"""

import re

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


# Names without their namespace. A name that only contains one of them says nothing of what the op does.
_ALL_REDUCES = {
    "all_reduce",
    "allreduce",
    "inplace_all_reduce",
    "outplace_all_reduce",
    "tensor_model_parallel_all_reduce",
}
_REDUCE_SCATTERS = {"reduce_scatter", "reduce_scatter_tensor"}
_SUFFIXES = re.compile(r"(_coalesced|_base)?_*$")


def is_collective(op: str) -> bool:
    """Whether an op (``namespace::name``) is an all-reduce by its name: torch's, vLLM's, SGLang's, or this module's."""
    return _plain(op) in _ALL_REDUCES


def is_reduction(op: str) -> bool:
    """Whether an op sums over the ranks: an all-reduce, or the reduce-scatter before an all-gather."""
    return is_collective(op) or _plain(op) in _REDUCE_SCATTERS


def _plain(op: str) -> str:
    """An op's name without its namespace and the suffixes of variants in place or of many tensors; empty for torch's math."""
    namespace, _, name = op.partition("::")
    return "" if namespace in ("aten", "prim", "prims") else _SUFFIXES.sub("", name)
