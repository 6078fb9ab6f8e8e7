"""Tensor-parallel ranks: each a process that judges the same case at the same time, over a real gloo group.

Ranks hold identical shards and get identical inputs, so the sum over them is the partial result times their number, as
with the in-process all-reduce of the in-tree layer; a missing reduce, a second one and a strided input show.
"""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.findings.finding import ERROR
from harness.workers.plan import selected
from harness.workers.plan import start as start_one
from harness.workers.process import Job, WorkerProcess

Answer = Callable[[int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process's place among the ranks, and the file through which they meet."""

    rank: int = 0
    size: int = 1
    meeting: str = ""


_here = Ranks()


def here() -> Ranks:
    """The ranks of this process."""
    return _here


def start(settings: dict[str, Any]) -> Answer:
    """In a worker: as ``harness.workers.plan.start``, with more processes where a case has more ranks. Raises BadInput."""
    global _here
    # A bisection is ended by the clock and keeps files: ranks would come apart.
    alone = settings | {"bisect": False}
    if "ranks" in settings:
        _here = Ranks(**settings["ranks"])
        return _apart(settings, start_one(alone))
    tasks = selected(settings)
    size = max((case.tp for case, _ in tasks), default=1)
    with tempfile.TemporaryDirectory(prefix="harness-ranks-", ignore_cleanup_errors=True) as folder:
        _here = Ranks(0, size, str(Path(folder, "meeting")))
        others = [_other(settings, rank) for rank in range(1, size)]
        answer = _apart(settings, _started(settings, others))
    together = _together(_apart(settings, start_one(alone)), others)
    return lambda index: (together if tasks[index][0].tp > 1 else answer)(index)


def _started(settings: dict[str, Any], others: list[WorkerProcess]) -> Answer:
    """The answer of rank 0. The others start at the same time, since all of them have to meet."""
    with ThreadPoolExecutor(max(len(others), 1)) as threads:
        ready = [threads.submit(other.greet) for other in others]
        answer = start_one(settings)
        for greeting in ready:
            greeting.result()
    return answer


def _other(settings: dict[str, Any], rank: int) -> WorkerProcess:
    ranks = Ranks(rank, _here.size, _here.meeting)
    return WorkerProcess(
        Job(settings["start"], settings | {"ranks": asdict(ranks)}, command=tuple(settings["command"]))
    )


def _together(answer: Answer, others: list[WorkerProcess]) -> Answer:
    """The answer of rank 0 with every other rank at the same task; an error where they end differently."""
    threads = ThreadPoolExecutor(max(len(others), 1))

    def answered(index: int) -> dict[str, Any]:
        asked = [threads.submit(other.ask, index) for other in others]
        verdict = answer(index)
        for rank, future in enumerate(asked, 1):
            theirs = (future.result() or {"status": "died"})["status"]
            if theirs != verdict["status"]:
                return verdict | {"status": ERROR, "reason": f"rank 0: {verdict['status']}, rank {rank}: {theirs}"}
        return verdict

    return answered


def _apart(settings: dict[str, Any], answer: Answer) -> Answer:
    """Answers that tell a latent weakness from a bug that users meet."""
    from harness.engines.vllm.latent import apart

    return apart(answer, selected(settings))
