"""Judging in parallel: a plan of cases and modes, the workers' side of it, and the verdicts as they come."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.findings.finding import DEVICE_LOST, ERROR, Verdict
from harness.matrix.selection import Selection
from harness.verdict.reproduce import reproduce
from harness.workers.pool import LAST, Pool
from harness.workers.process import TASK_SECONDS, Job

if TYPE_CHECKING:
    import torch

    from harness.matrix.case import Case
    from harness.matrix.modes import ModeInfo
    from harness.subjects.subject import Subject


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be judged, and how. ``subject`` is an import path, ``spec`` its name on the command line.

    With ``bisect`` findings of compiled modes blame a layer of the compiler. ``start`` and ``command`` are those
    of a job whose workers run in an engine's own environment.
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

    @property
    def job(self) -> Job:
        """What a worker is told at its start."""
        told = {"path": self.path, "threads": 1, "device": self.device, "subject": self.subject, "spec": self.spec}
        told |= {
            "bisect": self.bisect,
            "start": self.start,
            "command": self.command,
            "selection": asdict(self.selection),
        }
        return Job(self.start, told, self.seconds, self.command)


def start(settings: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    """In a worker: a function from the index of a task, a case in a mode, to the verdict's JSON form."""
    from harness.base.quiet import quiet_for_good
    from harness.verdict.bisect import name_blame
    from harness.verdict.judge import judge

    tasks, subject, device = chosen(settings)
    quiet_for_good()

    def answer(index: int) -> dict[str, Any]:
        verdict = judge(subject, *tasks[index], device, settings["spec"])
        if any(finding.kind == DEVICE_LOST for finding in verdict.findings):
            return verdict.to_json() | {LAST: True}
        return (name_blame(verdict, subject, *tasks[index], device) if settings["bisect"] else verdict).to_json()

    return answer


def chosen(settings: dict[str, Any]) -> "tuple[list[tuple[Case, ModeInfo]], Subject, torch.device]":
    """In a worker: the tasks, the subject and the device of a plan's settings. Raises BadInput."""
    import torch

    from harness.execution.device import choose_device
    from harness.subjects.load import load_subject

    torch.set_num_threads(settings["threads"])
    return selected(settings), load_subject(settings["subject"], settings["path"]), choose_device(settings["device"])


def selected(settings: dict[str, Any]) -> "list[tuple[Case, ModeInfo]]":
    """In a worker: the tasks of a plan's settings."""
    return Selection(**{name: _tuple(value) for name, value in settings["selection"].items()}).tasks()


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Judging:
    """Judges a plan. Tasks of one model stay together: they share weights and compiled kernels."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tasks = plan.selection.tasks()

    def __iter__(self) -> Iterator[Verdict]:
        """The verdicts as they come. Raises BadInput if the subject cannot be used."""
        died: dict[int, str] = {}
        for reply in Pool(self.plan.job, self._groups(), self.plan.workers):
            if reply.answer:
                yield Verdict.from_json(reply.answer)
            elif self.plan.bisect and self.tasks[reply.task][1].family == "compiled":
                died[reply.task] = reply.died  # over the case, or over its bisection
            else:
                yield self._died(reply.task, reply.died)
        yield from self._unbisected(died)

    def _unbisected(self, died: dict[int, str]) -> Iterator[Verdict]:
        """The verdicts of tasks over which a worker died: with findings only if it was the bisection that killed it."""
        for reply in Pool(replace(self.plan, bisect=False).job, [[task] for task in died], self.plan.workers):
            verdict = Verdict.from_json(reply.answer) if reply.answer else self._died(reply.task, reply.died)
            words = died[reply.task]
            told = f"not decided: the worker process died over it ({words})"
            named = tuple(replace(finding, blame=told) for finding in verdict.findings)
            yield replace(verdict, findings=named) if named else self._died(reply.task, words)

    def _groups(self) -> list[list[int]]:
        groups: dict[str, list[int]] = {}
        for index, (case, _) in enumerate(self.tasks):
            groups.setdefault(case.model, []).append(index)
        # The longest first, so that no worker is left with a long one at the end.
        widest = sorted(groups, key=lambda model: -max(self.tasks[index][0].hidden for index in groups[model]))
        return [groups[model] for model in widest]

    def _died(self, task: int, words: str) -> Verdict:
        (case, mode), plan = self.tasks[task], self.plan
        return Verdict(
            subject=plan.spec,
            case=case.id,
            model=case.model,
            hidden=case.hidden,
            padded=case.padded,
            mode=mode.name,
            status=ERROR,
            reason=f"the worker process died ({words}); a case gets {plan.seconds:.0f} s",
            reproduce=reproduce(case, mode.name, plan.spec, plan.device),
            changes=case.changes,
        )
