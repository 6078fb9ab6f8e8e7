"""What the ranks gave to the sums of a task. Where all gave the same, one rank can stand for all of them in the next task.

The ranks have the same shard and the same inputs. Code that asks for its rank, or shards of its own, may still make a difference.
"""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils._python_dispatch import _disable_current_modes

from harness.execution.evidence import same_bits


class Sums:
    """The sums of one task after the other. ``alone`` says that this rank makes those of the task for all ranks."""

    def __init__(self) -> None:
        self.alone = False
        self._count, self._alike, self._others = 0, True, False
        self._before: dict[Any, int] = {}

    def start(self, alone: bool = False) -> None:
        """A task begins."""
        self.alone, self._count, self._alike = alone, 0, True
        self._before = _collectives()

    def note(self, rows: Tensor, summed: Tensor, ranks: int) -> None:
        """One sum: what this rank gave to it, and what came of it."""
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            self._alike &= same_bits(rows.reshape(-1) * ranks, summed)
        self._count += 1

    def all_alike(self, replays: bool) -> bool:
        """Whether the task had sums, every rank gave the same to each, and no task had another collective.

        ``replays``: of the task's graphs only the capture of a sum is noted here.
        """
        made = [now - self._before.get(group, 0) for group, now in _collectives().items()]
        self._others |= sum(made) != self._count and not replays
        return self._count > 0 and self._alike and not self._others and sum(map(bool, made)) == 1


SUMS = Sums()


def _collectives() -> dict[Any, int]:
    """The number of collectives that each group of the process has made."""
    if not distributed.is_initialized():
        return {}
    groups: Any = distributed.distributed_c10d._world.pg_map
    return {group: group._get_sequence_number_for_group() for group in groups}
