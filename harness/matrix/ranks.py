"""How the ranks of a case run: as copies in one process, or each as a process with its own shard, over a collective."""

from dataclasses import dataclass

from harness.base.errors import BadInput, unknown
from harness.matrix.modes import ModeInfo, choose

COPIES, REAL = "copies", "real"
LEAST_RANKS, MOST_REAL_RANKS = 2, 8


@dataclass(frozen=True, slots=True)
class CollectiveInfo:
    """A way to sum over ranks: its name, one line about it, and whether it exists on CUDA devices alone."""

    name: str
    about: str
    needs_cuda: bool = False


COLLECTIVES = {
    info.name: info
    for info in (
        CollectiveInfo("all_reduce", "torch.distributed.all_reduce, in place: NCCL on CUDA, gloo on a CPU"),
        CollectiveInfo(
            "functional", "torch.distributed._functional_collectives.all_reduce, which torch.compile traces"
        ),
        CollectiveInfo("one_shot", "symmetric memory, torch.ops.symm_mem.one_shot_all_reduce", True),
        CollectiveInfo("two_shot", "symmetric memory, torch.ops.symm_mem.two_shot_all_reduce_", True),
        CollectiveInfo("raw_nccl", "ncclAllReduce on a pointer and a count, as engines call it", True),
    )
}

REAL_MODES = {
    info.name: info
    for info in (
        ModeInfo("eager", "eager", "harness.execution.modes.ranks.eager", "plain calls on every rank"),
        ModeInfo("compiled", "compiled", "harness.execution.modes.ranks.compiled", "torch.compile on every rank"),
        ModeInfo(
            "cudagraph",
            "cudagraph",
            "harness.execution.modes.ranks.captured",
            "a capture on every rank, then replays",
            True,
        ),
    )
}


def check_ranks(ranks: str, collectives: tuple[str, ...], tp: tuple[int, ...], vary: tuple[str, ...]) -> None:
    """Raises BadInput where these options do not fit together."""
    if ranks not in ("", COPIES, REAL):
        raise BadInput(
            f"--ranks is {ranks!r}; expected {COPIES}, one process for all ranks, or {REAL}, a process a rank"
        )
    for name in collectives:
        if name not in COLLECTIVES:
            raise unknown("collective", name, COLLECTIVES)
    if ranks != REAL and collectives:
        raise BadInput(f"--collectives {collectives[0]} needs --ranks real: copies in one process call no collective")
    if ranks == REAL and vary:
        raise BadInput(f"--vary {vary[0]} varies one process; leave out --ranks real, or --vary")
    for size in tp if ranks == REAL else ():
        if not LEAST_RANKS <= size <= MOST_REAL_RANKS:
            raise BadInput(
                f"--tp is {size}; expected {LEAST_RANKS} to {MOST_REAL_RANKS} with --ranks real, a process a rank"
            )


def collectives_for(chosen: tuple[str, ...], cuda: bool) -> tuple[str, ...]:
    """The collectives chosen; by default all that run on the device."""
    return chosen or tuple(info.name for info in COLLECTIVES.values() if cuda or not info.needs_cuda)


def real_modes(chosen: tuple[str, ...], cuda: bool) -> list[ModeInfo]:
    """The modes of these names in which real ranks run; by default all that run on the device. Raises BadInput."""
    if not chosen:
        return [info for info in REAL_MODES.values() if cuda or not info.needs_cuda]
    names = [info.name for info in choose(list(chosen), True)]
    modes = [info for name, info in REAL_MODES.items() if name in names]
    if not modes:
        raise BadInput(f"--modes {','.join(chosen)}: real ranks run in {', '.join(REAL_MODES)} alone")
    return modes
