"""The trials of a self-test: which entry runs on which case in which mode, and how a worker runs it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE, ModeInfo
from harness.selftest.corpus import Corpus, Correct, Fault, load_corpus
from harness.selftest.tool_names import KEPT, TOOLS
from harness.workers.importing import importing
from harness.workers.pool import LAST, Pool
from harness.workers.process import Job

# Without its trigger a fault is a correct layer. The cheap modes are enough to check that.
ABSENT_MODES = ("eager", "fake-dynamic", "cudagraph")
# Of correct variants' trials a run does one in so many, chosen by a hash: by their order some would meet one mode alone. Of the
# families that take half a second a trial it does fewer.
_ONE_IN = 6
_ONE_IN_LONG = {"compiled": 18, "varied": 18}
# Entries of one model share its weights and oracle. Small groups keep the workers evenly busy.
_TOGETHER = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """One entry on one case in one mode, or under torch's tools. ``place`` is the index of the case in the entry."""

    entry: str
    place: int
    mode: str

    def to_json(self) -> list[Any]:
        """The task for the worker."""
        return [self.entry, self.place, self.mode]

    @property
    def hash(self) -> int:
        """A number that is the same in every run."""
        return crc32(repr(self).encode())

    @property
    def is_kept(self) -> bool:
        """Whether a run that leaves trials of correct variants out does this one."""
        return self.hash % _ONE_IN_LONG.get(EVERY_MODE[self.mode].family, _ONE_IN) == 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a trial: a verdict, or the results of torch's tools. If the worker died, ``died`` says how.

    ``tools_kept`` says that the results are those of an earlier run of the same code.
    """

    trial: Trial
    verdict: Verdict | None = None
    tools: dict[str, Any] = field(default_factory=dict)
    tools_kept: bool = False
    died: str = ""


@dataclass(frozen=True, slots=True)
class Trials:
    """The trials of a self-test. ``modes`` are those chosen by the user; empty means each entry's own.

    ``whole`` keeps all trials of correct variants. Otherwise one in six is kept, one in eighteen of those that compile or vary,
    and of each variant at least one.
    """

    corpus: Corpus
    entries: Sequence[Fault | Correct]
    modes: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    device: str = "cpu"
    seconds: float = 120.0
    whole: bool = True

    def of(self, entry: Fault | Correct) -> list[Trial]:
        """The trials of one entry that are run."""
        every = self.every_of(entry)
        if self.whole or isinstance(entry, Fault):
            return every
        return [trial for trial in every if trial.is_kept] or sorted(every, key=lambda trial: trial.hash)[:1]

    def every_of(self, entry: Fault | Correct) -> list[Trial]:
        """The trials of one entry: its modes at each case, and torch's tools at the first case that shows the fault."""
        shown = entry.shown if isinstance(entry, Fault) else entry.cases
        trials = [
            Trial(entry.id, place, mode)
            for place, case in enumerate(entry.cases)
            for mode in self._modes(entry, case in shown)
        ]
        with_tools = [Trial(entry.id, entry.cases.index(shown[0]), TOOLS)] if isinstance(entry, Fault) else []
        return trials + with_tools

    def _modes(self, entry: Fault | Correct, shows: bool) -> Sequence[str]:
        own = self._possible(entry.modes) if shows else ABSENT_MODES
        return [mode for mode in EVERY_MODE if mode in (self.modes if shows and self.modes else own)]

    def _possible(self, modes: Sequence[str]) -> list[str]:
        return [mode for mode in modes if self.device == "cuda" or not EVERY_MODE[mode].needs_cuda]

    def all(self) -> list[Trial]:
        """The trials that are run."""
        return [trial for entry in self.entries for trial in self.of(entry)]

    def groups(self) -> list[list[list[Any]]]:
        """The groups of tasks for the pool: a few entries of one model each, the widest models first."""
        by_model: dict[str, list[Fault | Correct]] = {}
        for entry in self.entries:
            by_model.setdefault(entry.cases[0].model, []).append(entry)
        chunks = [
            entries[start : start + _TOGETHER]
            for _, entries in sorted(by_model.items(), key=lambda pair: -pair[1][0].cases[0].hidden)
            for start in range(0, len(entries), _TOGETHER)
        ]
        return [[trial.to_json() for entry in chunk for trial in self.of(entry)] for chunk in chunks]

    def run(self, workers: int) -> Iterator[Answer]:
        """The answers as they come. Raises BadInput if a worker cannot load the corpus."""
        settings = {"path": self.path, "device": self.device, "corpus": self.corpus.module, "anew": self.whole}
        job = Job("harness.selftest.trials:start", settings, self.seconds)
        for reply in Pool(job, self.groups(), workers, same=lambda task: task[0]):
            trial = Trial(*reply.task)
            if reply.answer is None:
                yield Answer(trial, died=f"the worker process died ({reply.died}); a trial gets {self.seconds:.0f} s")
            elif trial.mode == TOOLS:
                kept = bool(reply.answer.pop(KEPT, False))
                yield Answer(trial, tools=reply.answer, tools_kept=kept)
            else:
                yield Answer(trial, Verdict.from_json(reply.answer))


def start(settings: dict[str, Any]) -> Callable[[list[Any]], dict[str, Any]]:
    """In a worker: returns a function from a trial to the verdict's JSON form, or to the results of torch's tools."""
    import torch

    from harness.execution.device import choose_device, loss
    from harness.execution.state.threads import users_threads
    from harness.selftest.kept import Kept
    from harness.selftest.tools import look
    from harness.verdict.judge import judge

    torch.set_num_threads(1)
    with importing(f"corpus {settings['corpus']!r}"):
        corpus = load_corpus(settings["corpus"], settings["path"])
    device = choose_device(settings["device"])
    package = settings["corpus"].partition(".")[0]
    # A graphics card has a state, and its driver a version.
    kept = Kept() if device.type == "cpu" and not settings["anew"] else None

    def answer(task: list[Any]) -> dict[str, Any]:
        trial = Trial(*task)
        entry = corpus.entries[trial.entry]
        case: Case = entry.cases[trial.place]
        if trial.mode == TOOLS:
            ask = partial(look, entry.subject, case, device)
            result = kept.results(entry.id, repr(case), ask) if kept else ask()
        else:
            mode: ModeInfo = EVERY_MODE[trial.mode]
            result = judge(entry.subject, case, mode, device, entry.id).to_json()
        # A fault may lose the device, or leave a thread that goes on to change things: the next entry needs a new process.
        return result | ({LAST: True} if loss(device) or users_threads(package) else {})

    return answer
