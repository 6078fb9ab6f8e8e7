"""Ranks whose shards really differ, one after another in one process, and the true sum of what they give."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from harness.execution.evidence import Call, Varied, same_bits
from harness.execution.modes.varied.beside.reductions import Reductions
from harness.execution.modes.varied.checks import few, layer_of, rig_of
from harness.execution.modes.varied.varied_run import VariedRun
from harness.execution.rig import Rig

_MOST_RANKS, _MOST_REDUCTIONS = 64, 8
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


def ranks(varied: VariedRun, variation: Varied) -> None:
    """A call of each rank's layer. Where it is wrong, fewer ranks are tried too."""
    torch._dynamo.reset()  # a layer that its owner compiled has a limit of graphs for all layers of the class
    count = int(variation.name.partition("=")[2])
    if count > _MOST_RANKS:
        return varied.leave_out(variation, f"more than {_MOST_RANKS} ranks do not run in one process")
    calls = _calls(varied, variation, count)
    if any(call.error or varied.is_wrong(call) for call in calls):
        calls[0].limit = _limit(varied, variation, count)
    varied.run.calls += calls
    return None


def _limit(varied: VariedRun, variation: Varied, wrong: int) -> str:
    """With how many ranks the layer is right, as text; empty where it is wrong with two."""
    for count in (wrong // 2, 2):
        fewer = _calls(varied, variation, count) if 2 <= count < wrong else []
        if fewer and not any(call.error or varied.is_wrong(call) for call in fewer):
            return f"right with {count} ranks"
    return ""


def _calls(varied: VariedRun, variation: Varied, count: int) -> list[Call]:
    """The last call of each rank, the first one alone where all are wrong; none where the layers do not take part."""
    case = replace(varied.rig.case, tp=count, rank=0)
    rigs = [rig_of(varied.rig, replace(case, rank=rank), _as_rank(rank, count)) for rank in range(count)]
    ranks = [_Rank(rig, number, count) for number, rig in enumerate(rigs) if rig is not None]
    if len(ranks) < count:
        return []
    inputs = ranks[0].rig.inputs(few(varied.rig), 0)
    sums: list[Tensor] = []
    for _ in range(_MOST_REDUCTIONS + 1):
        given = [rank.call(variation, inputs, sums) for rank in ranks]
        if any(len(parts) <= len(sums) for parts in given) or any(rank.made.error for rank in ranks):
            break
        op, parts = ranks[0].more.get(len(sums)), [tensors[len(sums)] for tensors in given]
        if op and not all(same_bits(parts[0], part) for part in parts):
            varied.leave_out(variation, f"the op {op} does more than add and sum, so the true sum is not known")
            return []
        sums.append(parts[0] if op else torch.stack([part.float() for part in parts]).sum(0))
    else:
        return []  # more reductions than can be followed
    expected = ranks[0].rig.oracle(inputs)
    for rank in ranks:
        rank.made.expected = None if rank.made.error else expected
    wrong = [varied.is_wrong(rank.made) for rank in ranks]
    if all(wrong):  # they share a sum, and it says nothing of the rank whose shard is wrong
        ranks[0].made.label, ranks[0].made.same_shards = f"the sum of {count} ranks", _same_shards(given)
    return [rank.made for rank in ranks[: 1 if all(wrong) else count]]


def _same_shards(given: list[list[Tensor]]) -> str:
    """Which rank gave the same to the first reduction as one before it, as text; empty where none did."""
    first = [parts[0] for parts in given if parts]
    same = [
        (rank, other) for rank in range(len(first)) for other in range(rank) if same_bits(first[rank], first[other])
    ]
    texts = [f"rank {rank} gives what rank {other} does" for rank, other in dict(reversed(same)).items()]
    return " and ".join(reversed(texts))


@contextmanager
def _as_rank(rank: int, count: int) -> Iterator[None]:
    """Say in the environment which rank this process is, as launchers do."""
    before = {name: os.environ.get(name) for name in _RANK_VARIABLES}
    values = (rank, rank, count, count)
    os.environ.update({name: str(value) for name, value in zip(_RANK_VARIABLES, values, strict=True)})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class _Rank:
    """One rank, and the last call of its layer."""

    def __init__(self, rig: Rig, number: int, count: int) -> None:
        self.rig, self.number, self.count = rig, number, count
        self.made = Call("", 0, ())
        self.more: dict[int, str] = {}

    def call(self, variation: Varied, inputs: tuple[Tensor, ...], sums: list[Tensor]) -> list[Tensor]:
        """Call a layer with the sums of its reductions as far as they are known. Returns what it gave to each reduction.

        A layer that was called before may hold its answer of then, where other sums were known.
        """
        copies = tuple(tensor if tensor is None else tensor.clone() for tensor in inputs)
        self.made = Call(
            f"rank {self.number} of {self.count}", copies[0].shape[0], copies, varied=variation, case=self.rig.case
        )
        with _as_rank(self.number, self.count):
            layer = layer_of(self.rig)
        reductions = Reductions(sums, self.rig.declared.reduces_by, self.count)
        with _as_rank(self.number, self.count), reductions:
            self.rig.make(self.made, layer)
        self.more = reductions.more
        return reductions.given
