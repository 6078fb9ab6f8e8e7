"""The plan of a run: which cases in which modes, how a worker judges them, and the verdicts as they come."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.findings.finding import DEVICE_LOST, ERROR, JUDGED_AS, OK, SKIPPED, Verdict
from harness.matrix.case_id import case_of
from harness.matrix.modes import MODES
from harness.matrix.selection import Selection
from harness.matrix.twins import twins
from harness.verdict.reproduce import reproduce
from harness.workers.alone import Alone
from harness.workers.importing import importing
from harness.workers.nursery import nursery_of
from harness.workers.pool import LAST, Pool
from harness.workers.process import NO_ANSWER, TASK_SECONDS, Job, WorkerProcess
from harness.workers.worker import begin

if TYPE_CHECKING:
    import torch

    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo
    from harness.subjects.subject import Subject

# On top of a case's own limit. The first compile of a process imports the compiler, and may build its headers anew.
FIRST_COMPILE_SECONDS = 300.0


New = Callable[[Job], WorkerProcess]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which cases to judge, and how. ``subject`` is an import path, ``spec`` its name on the command line.

    ``bisect`` adds the blamed compiler layer to findings of compiled modes. ``start`` and ``command`` go to the ``Job``;
    they differ from the defaults for workers that run in an engine's own environment. ``by_sizes`` says that the subject's
    layers are made from the sizes of a case alone: of cases with the same sizes one is judged, and its ok is that of all.
    ``imports`` goes to the ``Job`` too.
    """

    selection: Selection
    subject: str
    spec: str
    device: str
    workers: int
    path: tuple[str, ...] = ()
    seconds: float = TASK_SECONDS
    bisect: bool = False
    start: str = "harness.workers.plan:start"
    command: tuple[str, ...] = ()
    by_sizes: bool = False
    imports: str = ""

    @property
    def job(self) -> Job:
        """The job that every worker of the plan gets."""
        settings = {"path": self.path, "threads": 1, "device": self.device, "subject": self.subject, "spec": self.spec}
        settings |= {
            "bisect": self.bisect,
            "seconds": self.seconds,
            "start": self.start,
            "command": self.command,
            "selection": asdict(self.selection),
        }
        return Job(self.start, settings, self.seconds, self.command, self.imports)


def start(settings: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    """In a worker: returns a function from a task's index to the verdict's JSON form. A task is a case in a mode."""
    from harness.base.quiet import quiet_until_exit
    from harness.verdict.bisect import name_blame
    from harness.verdict.judge import judge

    tasks, subject, device = load_plan(settings)
    quiet_until_exit()
    compiled = False

    def answer(index: int) -> dict[str, Any]:
        nonlocal compiled
        if "compiled" in tasks[index][1].name and not compiled:
            compiled = True
            begin(settings["seconds"] + FIRST_COMPILE_SECONDS)
        verdict = judge(subject, *tasks[index], device, settings["spec"])
        if any(finding.kind == DEVICE_LOST for finding in verdict.findings):
            return verdict.to_json() | {LAST: True}
        return (name_blame(verdict, subject, *tasks[index], device) if settings["bisect"] else verdict).to_json()

    return answer


def load_plan(settings: dict[str, Any]) -> "tuple[list[tuple[Case, ModeInfo]], Subject, torch.device]":
    """In a worker: the plan's tasks, subject and device. Raises BadInput."""
    import torch

    from harness.execution.device import choose_device
    from harness.subjects.load import load_subject

    torch.set_num_threads(settings["threads"])
    with importing(f"subject {settings['subject']!r}"):
        subject = load_subject(settings["subject"], settings["path"])
    return plan_tasks(settings), subject, choose_device(settings["device"])


def plan_tasks(settings: dict[str, Any]) -> "list[tuple[Case, ModeInfo]]":
    """In a worker: the plan's tasks, or the one case that the settings name, in eager."""
    selection = Selection(**{name: _tuple(value) for name, value in settings["selection"].items()})
    if "case" in settings:
        return [(case_of(settings["case"], selection.models_file), MODES["eager"])]
    return selection.tasks()


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class PlanRun:
    """Runs a plan on a pool of workers. One worker does all tasks of a model, since they share weights and compiled kernels.

    ``wanted`` says which (case id, mode) to judge; without it, all are. ``tasks`` are all of the plan, by their index.
    """

    def __init__(self, plan: Plan, wanted: Collection[tuple[str, str]] | None = None) -> None:
        self.plan = plan
        self.tasks = plan.selection.tasks()
        self._fakes: dict[str, str] = {}  # what is wrong with a fake, by the case in which a verdict showed it
        self.wanted = [
            index for index, (case, mode) in enumerate(self.tasks) if wanted is None or (case.id, mode.name) in wanted
        ]

    def __iter__(self) -> Iterator[Verdict]:
        """The verdicts in the order in which they finish. Raises BadInput if the subject cannot be used."""
        others: dict[int, list[int]] = {}
        for index, first in (twins(self.tasks, self.wanted) if self.plan.by_sizes else {}).items():
            others.setdefault(first, []).append(index)
        shared = {index for group in others.values() for index in group}
        again: list[int] = []
        for index, verdict in self._judged([index for index in self.wanted if index not in shared]):
            yield verdict
            if verdict.status in (OK, SKIPPED):
                yield from (self._shared(other, verdict) for other in others.get(index, ()))
            else:
                again += others.get(index, ())
        # A finding names its own case and command, so each of these cases is judged.
        for _, verdict in self._judged(again):
            yield verdict

    def _shared(self, index: int, verdict: Verdict) -> Verdict:
        """The verdict of a task whose layer another one has: that other one's, under its own name and with its own command."""
        (case, mode), plan = self.tasks[index], self.plan
        case = case if case.hidden == verdict.hidden else case.published()  # the small widths could not be built
        device = "cpu" if verdict.environment.get("device", "cpu") == "cpu" else "cuda"
        command = reproduce(case, mode.name, plan.spec, device, mode.vary)
        return replace(
            verdict,
            case=case.id,
            model=case.model,
            changes=case.changes,
            reproduce=command,
            environment=verdict.environment | {JUDGED_AS: verdict.case},
        )

    def _judged(self, wanted: list[int]) -> Iterator[tuple[int, Verdict]]:
        """Each task and its verdict, in the order in which they finish."""
        if wanted:
            with nursery_of(self.plan.job) as nursery:
                yield from self._judged_by(wanted, nursery.worker if nursery else WorkerProcess)

    def _judged_by(self, wanted: list[int], new: New) -> Iterator[tuple[int, Verdict]]:
        """Each task and its verdict, by workers that ``new`` makes."""
        died: dict[int, str] = {}
        # A worker of an engine takes long to start.
        alone = None if self.plan.command else Alone()
        for reply in Pool(self.plan.job, self._groups(wanted), self.plan.workers, alone=alone, new=new):
            if reply.answer:
                verdict = Verdict.from_json(reply.answer)
                self._fakes |= _wrong_fake(verdict)
                yield reply.task, verdict
            elif self._is_bisected(reply.task):
                died[reply.task] = reply.died  # either the case or its bisection killed the worker
            else:
                yield reply.task, self._died(reply.task, reply.died)
        yield from self._unbisected(died, new)

    def _unbisected(self, died: dict[int, str], new: New) -> Iterator[tuple[int, Verdict]]:
        """Judge once more, without bisection, each task whose worker died. Findings show that the bisection killed it."""
        for reply in Pool(replace(self.plan, bisect=False).job, [[task] for task in died], self.plan.workers, new=new):
            verdict = Verdict.from_json(reply.answer) if reply.answer else self._died(reply.task, reply.died)
            end = died[reply.task]
            blame = f"not decided: the bisection ended the worker process ({end})"
            findings = tuple(replace(finding, blame=blame) for finding in verdict.findings)
            yield reply.task, replace(verdict, findings=findings) if findings else self._died(reply.task, end)

    def _is_bisected(self, task: int) -> bool:
        """Whether a bisection may have killed a task's worker. One whose fake is wrong dies of that: it is not tried again."""
        case, mode = self.tasks[task]
        return self.plan.bisect and mode.family == "compiled" and case.id not in self._fakes

    def _groups(self, wanted: list[int]) -> list[list[int]]:
        groups: dict[str, list[int]] = {}
        for index in wanted:
            groups.setdefault(self.tasks[index][0].model, []).append(index)
        # The longest first, so that no worker starts a long group when the others are done.
        widest = sorted(groups, key=lambda model: -max(self.tasks[index][0].hidden for index in groups[model]))
        return [groups[model] for model in widest]

    def _died(self, task: int, end: str) -> Verdict:
        (case, mode), plan = self.tasks[task], self.plan
        return Verdict.of(
            plan.spec,
            case,
            mode.name,
            ERROR,
            reason=end if end.startswith(NO_ANSWER) else f"the worker process died ({end}){self._by_fake(task)}",
            reproduce=reproduce(case, mode.name, plan.spec, plan.device),
        )

    def _by_fake(self, task: int) -> str:
        """What another mode showed of a fake in the case of a compiled task, which may be why its worker died; else empty."""
        case, mode = self.tasks[task]
        found = self._fakes.get(case.id, "") if "compiled" in mode.name else ""
        return f"; compiled code trusts a fake that is wrong here: {found}" if found else ""


def _wrong_fake(verdict: Verdict) -> dict[str, str]:
    """What a verdict says of a fake that gives other outputs than its op, by the case."""
    wrong = next((one for one in verdict.findings if one.kind == "fake-differs"), None)
    return {verdict.case: f"{wrong.what} (mode {verdict.mode})"} if wrong else {}
