"""The collectives by name, each called as an engine calls it, in place of ``harness.all_reduce``.

Those that torch.compile traces replace the op. The others replace what runs inside it, so that the op stays one opaque node.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed

from harness.base.errors import Skip
from harness.execution.ranks.raw_nccl import RawNccl
from harness.matrix.ranks import COLLECTIVES
from harness.ops.collectives import all_reduce

Sum = Callable[[Tensor, int], Tensor]
# Symmetric memory is mapped into every rank, so one buffer of this many elements serves all shapes that fit.
_LEAST_BUFFER = 2**20


@contextmanager
def summing_by(name: str, device: torch.device) -> Iterator[None]:
    """Sum over the ranks of this process's group by this collective inside a ``with`` block. Raises Skip."""
    if COLLECTIVES[name].needs_cuda and device.type != "cuda":
        raise Skip(f"the collective {name} needs CUDA: a CPU's ranks have all_reduce and functional, on gloo")
    if name in _TRACED:
        with all_reduce.replaced(_TRACED[name]):
            yield
        return
    with all_reduce.planted(real=_opaque(name, device)):
        yield


def in_place(x: Tensor, world_size: int) -> Tensor:
    """``torch.distributed.all_reduce``. ``x`` holds the sum, and is returned."""
    distributed.all_reduce(x)
    return x


def functional(x: Tensor, world_size: int) -> Tensor:
    """The functional collective: a new tensor."""
    from torch.distributed import _functional_collectives as functional_collectives

    summed = functional_collectives.all_reduce(x, "sum", _group())
    out: Tensor = functional_collectives.wait_tensor(summed)
    return out


def _group() -> distributed.ProcessGroup:
    group = distributed.group.WORLD
    assert group is not None, "this process has joined no group"
    return group


def _group_name() -> str:
    return str(_group().group_name)


_TRACED: dict[str, Sum] = {"all_reduce": in_place, "functional": functional}


@cache
def _opaque(name: str, device: torch.device) -> Sum:
    """One for each device and process: it holds buffers or a communicator."""
    if name == "raw_nccl":
        return RawNccl(device)
    return Symmetric(device, in_place=name == "two_shot")


class Symmetric:
    """An all-reduce of symmetric memory. As engines do, it copies its flattened input into a buffer that all ranks have mapped."""

    def __init__(self, device: torch.device, *, in_place: bool) -> None:
        self._device, self._in_place = device, in_place
        self._buffers: dict[torch.dtype, Tensor] = {}

    def __call__(self, x: Tensor, world_size: int) -> Tensor:
        """The sum of ``x``; raises RuntimeError on an input that is not contiguous."""
        group = _group_name()
        buffer = self.buffer(x.numel(), x.dtype)[: x.numel()]
        buffer.copy_(x.view(-1))
        if not self._in_place:
            out: Tensor = torch.ops.symm_mem.one_shot_all_reduce(buffer, "sum", group)
            return out.view(x.shape)
        torch.ops.symm_mem.two_shot_all_reduce_(buffer, "sum", group)
        return buffer.clone().view(x.shape)

    def buffer(self, numel: int, dtype: torch.dtype) -> Tensor:
        """A buffer of at least so many elements. Every rank asks for the same, since mapping one is a collective too."""
        from torch.distributed import _symmetric_memory

        memory: Any = _symmetric_memory
        if dtype not in self._buffers or self._buffers[dtype].numel() < numel:
            made = memory.empty(max(numel, _LEAST_BUFFER), dtype=dtype, device=self._device)
            memory.rendezvous(made, _group_name())
            self._buffers[dtype] = made
        return self._buffers[dtype]
