"""A team: one process a rank, all given the same task at the same time. What stands still is stopped, and no process stays."""

import tempfile
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.workers.process import Job, WorkerProcess

STOPPED = "stopped: it waited for another rank"
# A rank is silent while it computes, so that it may take this long; but never more than this share of a case's limit.
_SILENCE_SECONDS, _SHARE_OF_LIMIT = 60.0, 3.0
_LOOK_SECONDS = 0.1

Note = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RankAnswer:
    """What one rank did with a task. ``answer`` is None where it gave none, and ``end`` says how it ended."""

    rank: int
    answer: dict[str, Any] | None
    end: str = ""
    notes: tuple[Note, ...] = field(default=())

    @property
    def collectives(self) -> list[Note]:
        """What it gave to collectives, each with the ``call`` that it belongs to."""
        call, found = "", []
        for note in self.notes:
            call = note.get("call", call)
            if "collective" in note:
                found.append(note | {"call": call})
        return found

    @property
    def waits(self) -> Note | None:
        """The collective that it was in when it ended; None where it was in none."""
        return self.collectives[-1] if self.notes and "collective" in self.notes[-1] else None

    @property
    def raised(self) -> bool:
        """Whether the layer raised on this rank, in its build or in a call."""
        return bool(self.answer and self.answer["raised"])

    @property
    def at(self) -> str:
        """Where it was when it ended, in words."""
        waits, calls = self.waits, [note["call"] for note in self.notes if "call" in note]
        last = self.collectives[-1] if self.collectives else None
        if last and (waits or (self.raised and last["call"] == calls[-1])):
            return f"in {given(last)}, {last['call']}"
        if not calls:
            return "before its first call"
        return f"in {calls[-1]}" if self.raised or "end" not in self.notes[-1] else "between calls"


def given(note: Note) -> str:
    """A collective and what it was given, as text: ``c10d::allreduce_ of bfloat16[7, 2880] (3072, 1)``."""
    return f"{note['collective']} of {note['dtype']}{note['shape']} {tuple(note['stride'])}"


class Team:
    """The ranks of one size, which do the job with their ``place`` in its settings.

    A rank that died or was stopped takes the team with it; the next task starts a new one.
    """

    def __init__(self, job: Job, size: int, device: str) -> None:
        self._job, self.size, self._device = job, size, device
        self._ranks: list[WorkerProcess] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def ask(self, task: Any) -> list[RankAnswer]:
        """What each rank did with a task. Raises BadInput where the team cannot start."""
        self._start()
        with ThreadPoolExecutor(self.size) as threads:
            asked = [threads.submit(rank.ask, task) for rank in self._ranks]
            try:
                self._watch(asked)
            except BaseException:
                self.close()  # or the threads would wait for their ranks
                raise
        answers = [self._answer(rank, future.result()) for rank, future in enumerate(asked)]
        if any(answer.answer is None for answer in answers):
            self.close()
        return answers

    def close(self) -> None:
        """Stop every rank at once."""
        for rank in self._ranks:
            rank.kill()
        self._ranks = []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _start(self) -> None:
        """Start the processes here, so that they end with this thread; all must be there before one is ready."""
        if self._ranks:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="harness-ranks-", ignore_cleanup_errors=True)
        try:
            self._ranks = [WorkerProcess(self._job_of(rank)) for rank in range(self.size)]
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def _wait_until_ready(self) -> None:
        """Raises BadInput as soon as one rank cannot start: the others would wait for it."""
        with ThreadPoolExecutor(self.size) as threads:
            ready = [threads.submit(rank.wait_until_ready) for rank in self._ranks]
            done, left = wait(ready, return_when=FIRST_EXCEPTION)
            for rank in self._ranks if left else ():
                rank.stop(STOPPED)
        for future in sorted(done, key=ready.index):
            future.result()

    def _job_of(self, rank: int) -> Job:
        assert self._folder is not None
        meeting = str(Path(self._folder.name, "meeting"))
        place = {"rank": rank, "size": self.size, "meeting": meeting, "device": self._device}
        return replace(self._job, settings=self._job.settings | {"place": place})

    def _watch(self, asked: list["Future[dict[str, Any] | None]"]) -> None:
        """Wait for the answers. Stop the ranks that are left where none of them can go on."""
        most = min(_SILENCE_SECONDS, self._job.seconds / _SHARE_OF_LIMIT)
        while left := [rank for future, rank in zip(asked, self._ranks, strict=True) if not future.done()]:
            alone = len(left) < self.size or all(_in_collective(rank) for rank in left)
            if alone and all(rank.silence.passed(most) for rank in left):
                for rank in left:
                    rank.stop(f"{STOPPED} for more than {most:g} s")
                return
            time.sleep(_LOOK_SECONDS)

    def _answer(self, rank: int, answer: dict[str, Any] | None) -> RankAnswer:
        process = self._ranks[rank]
        return RankAnswer(rank, answer, "" if answer else process.exit_reason(), tuple(process.notes))


def _in_collective(rank: WorkerProcess) -> bool:
    return bool(rank.notes) and "collective" in rank.notes[-1]
