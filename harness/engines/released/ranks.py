"""Tensor-parallel ranks: processes that judge the same case at the same time, with a real gloo group.

All ranks have the same shard and get the same inputs, so the sum over ranks is a rank's result times their number. The
in-process all-reduce of the in-tree layer does the same. A missing or second reduce, and a strided input, give a finding.
"""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.findings.finding import ERROR
from harness.workers.plan import plan_tasks
from harness.workers.process import Job, WorkerProcess

if TYPE_CHECKING:
    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo

Answer = Callable[[int], dict[str, Any]]
Marked = Callable[[Answer, "Sequence[tuple[Case, ModeInfo]]"], Answer]
_VERDICTS = "harness.workers.plan:start"


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process's place among the ranks, and the file through which they find each other."""

    rank: int = 0
    size: int = 1
    meeting: str = ""


_here = Ranks()


def here() -> Ranks:
    """The ranks of this process."""
    return _here


def start(settings: dict[str, Any], marked: Marked) -> Answer:
    """In a worker: what one process answers, with more processes for cases with more ranks. Raises BadInput.

    ``answers`` in the settings names that function as ``module:name``, by default ``harness.workers.plan:start``. ``marked``
    adds to the answers what an engine says of its verdicts.
    """
    global _here
    # A bisection stops by the clock and writes files, so that ranks would make different calls and hang.
    without_bisect = settings | {"bisect": False}
    if "ranks" in settings:
        _here = Ranks(**settings["ranks"])
        return marked(start_one(without_bisect), plan_tasks(settings))
    tasks = plan_tasks(settings)
    size = max((case.tp for case, _ in tasks), default=1)
    with tempfile.TemporaryDirectory(prefix="harness-ranks-", ignore_cleanup_errors=True) as folder:
        _here = Ranks(0, size, str(Path(folder, "meeting")))
        others = [_other(settings, rank) for rank in range(1, size)]
        answer = marked(_started(settings, others), tasks)
    on_all_ranks = _on_all_ranks(marked(start_one(without_bisect), tasks), others)
    return lambda index: (on_all_ranks if tasks[index][0].tp > 1 else answer)(index)


def start_one(settings: dict[str, Any]) -> Answer:
    """What one process answers."""
    module, _, name = settings.get("answers", _VERDICTS).partition(":")
    answer: Answer = getattr(import_module(module), name)(settings)
    return answer


def _started(settings: dict[str, Any], others: list[WorkerProcess]) -> Answer:
    """The answer of rank 0. The other ranks start at the same time, since all must join the group."""
    with ThreadPoolExecutor(max(len(others), 1)) as threads:
        starting = [threads.submit(other.wait_until_ready) for other in others]
        answer = start_one(settings)
        for greeting in starting:
            greeting.result()
    return answer


def _other(settings: dict[str, Any], rank: int) -> WorkerProcess:
    ranks = Ranks(rank, _here.size, _here.meeting)
    return WorkerProcess(
        Job(settings["start"], settings | {"ranks": asdict(ranks)}, command=tuple(settings["command"]))
    )


def _on_all_ranks(answer: Answer, others: list[WorkerProcess]) -> Answer:
    """The answer of rank 0, while every other rank does the same task. An error if their statuses differ."""
    threads = ThreadPoolExecutor(max(len(others), 1))

    def answered(index: int) -> dict[str, Any]:
        others_answers = [threads.submit(other.ask, index) for other in others]
        verdict = answer(index)
        for rank, future in enumerate(others_answers, 1):
            theirs = (future.result() or {"status": "died"})["status"]
            if theirs != verdict["status"]:
                return verdict | {"status": ERROR, "reason": f"rank 0: {verdict['status']}, rank {rank}: {theirs}"}
        return verdict

    return answered
