"""Tensor-parallel ranks: processes that judge the same case at the same time, with a real gloo group.

All ranks have the same shard and get the same inputs, so the sum over ranks is a rank's result times their number. The
in-process all-reduce of the in-tree layer does the same. A missing or second reduce, and a strided input, give a finding.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engines.released.told_apart import with_ranks
from harness.findings.finding import ERROR, OK, SKIPPED
from harness.workers.nursery import import_engine
from harness.workers.plan import plan_tasks
from harness.workers.process import Job, WorkerProcess
from harness.workers.worker import begin

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


def start(settings: dict[str, Any], marked: Marked, imports: str = "", apart: bool = False) -> Answer:
    """In a worker: what one process answers, with more processes for cases with more ranks. Raises BadInput.

    ``answers`` in the settings names that function as ``module:name``, by default ``harness.workers.plan:start``. ``marked``
    adds to the answers what an engine says of its verdicts. ``imports`` names the function that imports the engine and starts
    nothing of it. Where it is given, the other ranks are forks of this process from then on. ``apart`` says that an engine
    which is set up for several ranks cannot run a case of one: each of the several is then another process than this one.
    """
    global _here
    if "ranks" in settings:
        _here = Ranks(**settings["ranks"])
        return marked(start_one(_without_bisect(settings)), plan_tasks(settings))
    fork = bool(imports) and import_engine(settings, imports)
    tasks = plan_tasks(settings)
    size = max((case.tp for case, _ in tasks), default=1)
    with tempfile.TemporaryDirectory(prefix="harness-ranks-", ignore_cleanup_errors=True) as folder:
        together = Ranks(0, size, str(Path(folder, "meeting")))
        others = [_other(settings, replace(together, rank=rank), fork) for rank in range(not apart or size == 1, size)]
        _here = Ranks() if apart else together
        answer = marked(_started(settings, others), tasks)
    first = _of_process(others.pop(0)) if apart and others else marked(start_one(_without_bisect(settings)), tasks)
    on_all_ranks = _on_all_ranks(first, others, [case.id for case, _ in tasks])
    return lambda index: (on_all_ranks if tasks[index][0].tp > 1 else answer)(index)


def _without_bisect(settings: dict[str, Any]) -> dict[str, Any]:
    """A bisection stops by the clock and writes files, so that ranks would make different calls and hang."""
    return settings | {"bisect": False}


def _of_process(process: WorkerProcess) -> Answer:
    """The answers of another process. If it dies, this one does so too, and its own parent reports the case."""

    def answer(index: int) -> dict[str, Any]:
        answered = process.ask(index)
        if answered is None:
            sys.exit(f"rank 0 ended: {process.exit_reason()}")
        return answered

    return answer


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


def _other(settings: dict[str, Any], ranks: Ranks, fork: bool) -> WorkerProcess:
    job = Job(settings["start"], settings | {"ranks": asdict(ranks)}, command=tuple(settings["command"]))
    return WorkerProcess(job, fork)


def _on_all_ranks(answer: Answer, others: list[WorkerProcess], cases: Sequence[str]) -> Answer:
    """The answer of rank 0, while every other rank does the same task. An error if their statuses differ.

    Once all ranks gave the same to the sums of a case that is right, rank 0 does its other modes alone. What is not right
    there is done again on all ranks.
    """
    from harness.engines.released.sums import SUMS  # imports torch

    threads = ThreadPoolExecutor(max(len(others), 1))
    alike: set[str] = set()

    def answered(index: int) -> dict[str, Any]:
        if cases[index] in alike:
            SUMS.start(alone=True)
            verdict = answer(index)
            if verdict["status"] in (OK, SKIPPED):
                return verdict
            begin()  # it has its time once more
        SUMS.start()
        others_answers = [threads.submit(other.ask, index) for other in others]
        verdict = answer(index)
        theirs = [future.result() or {"status": "died"} for future in others_answers]
        for rank, status in enumerate((one["status"] for one in theirs), 1):
            if status != verdict["status"]:
                return verdict | {"status": ERROR, "reason": f"rank 0: {verdict['status']}, rank {rank}: {status}"}
        verdict = with_ranks(verdict, theirs)
        if verdict["status"] == OK and SUMS.all_alike(replays=verdict.get("emulated", False)):
            alike.add(cases[index])
        return verdict

    return answered
