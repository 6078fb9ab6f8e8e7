"""Which entry of a corpus is run on which case in which mode, and the worker's side of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.findings.finding import Verdict
from harness.matrix.case import Case
from harness.matrix.modes import EVERY_MODE, ModeInfo
from harness.selftest.corpus import Corpus, Correct, Fault, load_corpus
from harness.selftest.tool_names import TOOLS
from harness.workers.pool import Pool
from harness.workers.process import Job

# Where its trigger is absent a fault is the right layer: the modes that cost little do.
ABSENT_MODES = ("eager", "fake-dynamic", "cudagraph")
# Entries that share a model share its weights and oracle; few enough that no worker is left with a long rest.
_TOGETHER = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """One entry on one case in one mode, or looked at by torch's tools. ``place`` is the case's in the entry's cases."""

    entry: str
    place: int
    mode: str

    def to_json(self) -> list[Any]:
        """What goes to the worker."""
        return [self.entry, self.place, self.mode]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a trial: a verdict, or what torch's tools say; neither if the worker died, which ``died`` words."""

    trial: Trial
    verdict: Verdict | None = None
    tools: dict[str, Any] = field(default_factory=dict)
    died: str = ""


@dataclass(frozen=True, slots=True)
class Trials:
    """Everything that a self-test runs. ``modes`` are those chosen; none means each entry's own."""

    corpus: Corpus
    entries: Sequence[Fault | Correct]
    modes: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    device: str = "cpu"
    seconds: float = 120.0

    def of(self, entry: Fault | Correct) -> list[Trial]:
        """The trials of one entry: its modes at each of its cases; torch's tools at the first that shows a fault."""
        shown = entry.shown if isinstance(entry, Fault) else entry.cases
        trials = [
            Trial(entry.id, place, mode)
            for place, case in enumerate(entry.cases)
            for mode in self._modes(entry, case in shown)
        ]
        looked = [Trial(entry.id, entry.cases.index(shown[0]), TOOLS)] if isinstance(entry, Fault) else []
        return trials + looked

    def _modes(self, entry: Fault | Correct, shows: bool) -> Sequence[str]:
        own = self._possible(entry.modes) if shows else ABSENT_MODES
        return [mode for mode in EVERY_MODE if mode in (self.modes if shows and self.modes else own)]

    def _possible(self, modes: Sequence[str]) -> list[str]:
        return [mode for mode in modes if self.device == "cuda" or not EVERY_MODE[mode].needs_cuda]

    def all(self) -> list[Trial]:
        """Every trial."""
        return [trial for entry in self.entries for trial in self.of(entry)]

    def groups(self) -> list[list[list[Any]]]:
        """The tasks for the pool: a few entries of one model together, the widest first."""
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
        """The answers as they come. Raises BadInput if the corpus cannot be loaded in a worker."""
        told = {"path": self.path, "device": self.device, "corpus": self.corpus.module}
        job = Job("harness.selftest.trials:start", told, self.seconds)
        for reply in Pool(job, self.groups(), workers, same=lambda task: task[0]):
            trial = Trial(*reply.task)
            if reply.answer is None:
                yield Answer(trial, died=f"the worker process died ({reply.died}); a trial gets {self.seconds:.0f} s")
            elif trial.mode == TOOLS:
                yield Answer(trial, tools=reply.answer)
            else:
                yield Answer(trial, Verdict.from_json(reply.answer))


def start(settings: dict[str, Any]) -> Callable[[list[Any]], dict[str, Any]]:
    """In a worker: a function from a trial to the verdict's JSON form, or to what torch's tools say."""
    import torch

    from harness.execution.device import choose_device
    from harness.selftest.tools import look
    from harness.verdict.judge import judge

    torch.set_num_threads(1)
    corpus = load_corpus(settings["corpus"], settings["path"])
    device = choose_device(settings["device"])

    def answer(task: list[Any]) -> dict[str, Any]:
        trial = Trial(*task)
        entry = corpus.entries[trial.entry]
        case: Case = entry.cases[trial.place]
        if trial.mode == TOOLS:
            return look(entry.subject, case, device)
        mode: ModeInfo = EVERY_MODE[trial.mode]
        return judge(entry.subject, case, mode, device, entry.id).to_json()

    return answer
