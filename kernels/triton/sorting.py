"""Sorting pairs of token and expert into blocks, each of one expert: what both kernels begin with."""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from kernels.triton.route import align

# Pairs that a program of ``align`` takes at once, and from how many on it takes them with 8 warps.
CHUNK, FEW = 8192, 1024


@dataclass(frozen=True, slots=True)
class Routing:
    """Pairs of token and expert in at most ``most`` blocks, each of one expert. Unsorted, each pair is a block."""

    ids: Tensor
    most: int
    table: Tensor
    """int32: the number of blocks; (expert, first row, end) of each; the pairs in order. One tensor, so one allocation"""

    @property
    def is_sorted(self) -> bool:
        """Whether the table is filled."""
        return self.table.shape[0] > 0

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """The pairs in order, the blocks, and their count."""
        return self.table[1 + 3 * self.most :], self.table[1 : 1 + 3 * self.most], self.table[:1]


def narrowed(ids: Tensor, experts: int) -> Tensor:
    """int32 ids; of wider ones, those that name no expert become -1, since cutting them could make an expert's of them."""
    if ids.dtype == torch.int32:
        return ids
    return torch.where((ids >= 0) & (ids < experts), ids, -1).int()


def sort_pairs(ids: Tensor, experts: int, bm: int, slack: int = 0) -> Routing:
    """The blocks of ids [T, K], of ``bm`` pairs; an expert's last one may hold up to ``slack`` more."""
    pairs = ids.numel()
    # The experts of a single token are distinct: each pair is a block, and sorting them would only cost a launch.
    if ids.shape[0] == 1:
        return Routing(ids, pairs, ids.new_empty(0, dtype=torch.int32))
    most = most_blocks(pairs, experts, bm)
    routing = Routing(ids, most, ids.new_empty(1 + 3 * most + pairs, dtype=torch.int32))
    lanes, chunk = triton.next_power_of_2(experts + 1), min(CHUNK, max(32, triton.next_power_of_2(pairs)))
    align[(experts,)](ids, *routing.parts, pairs, experts, bm, slack, lanes, chunk, num_warps=4 if chunk <= FEW else 8)
    return routing


def most_blocks(pairs: int, experts: int, bm: int) -> int:
    """The most blocks that any routing of so many pairs takes, where the last block of every expert holds one pair."""
    return min(pairs, min(pairs, experts) + pairs // bm)
