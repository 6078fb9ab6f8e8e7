"""The scenario of several ranks: the layer of each in one process, one after the other, and the true sum of what they give."""

from harness.repro.texts.scenario import Scenario

_BUILD = """\


def as_rank(rank):  # what a launcher sets
    return mock.patch.dict(os.environ, RANK=f"{rank}", LOCAL_RANK=f"{rank}", WORLD_SIZE="$ranks", LOCAL_WORLD_SIZE="$ranks")


given, sums = [], []
case = replace(case, tp=$ranks, rank=0)"""
_RANKS = """\
class Reduce(TorchDispatchMode):  # stands in for a reduction: notes what a rank gives, and returns the sum where it is known
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name not in $reducers:
            return func(*args, **(kwargs or {}))
        parts = [value.float().clone() for value in filter(torch.is_tensor, tree_leaves((args, kwargs)))]
        out = func(*args, **(kwargs or {}))  # in one process: as if each rank gave the same
        result = args[0] if out is None else out
        both = sum(part for part in parts if part.shape == parts[0].shape)  # an op may add before it reduces
        given.append(min(parts[0], both, key=lambda part: (result.float() - $ranks * part).abs().max()))
        if len(given) <= len(sums):
            result.copy_(sums[len(given) - 1])
        return out


def call(rank):
    given.clear()
    with as_rank(rank):
        layer, batch = subject.build(replace(case, rank=rank), device), inputs(7, 0)
        with Reduce():
            return layer(*batch), given[len(sums) :]


while all(parts := [call(rank)[1] for rank in range($ranks)]):
    sums.append(sum(part[0] for part in parts))
batch = inputs(7, 0)
wanted = oracle(batch)
for rank in range($ranks):
    out = call(rank)[0]
    $check"""
RANKS = Scenario(
    _RANKS,
    (
        "import os",
        "from dataclasses import replace",
        "from unittest import mock",
        "from torch.utils._python_dispatch import TorchDispatchMode",
        "from torch.utils._pytree import tree_leaves",
    ),
    _BUILD,
    compares=False,
    stands_in="Emulates the sum over $ranks ranks.",
)
